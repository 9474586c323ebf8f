"""The wheel factory's logic. Nox sessions call it; it never imports `mlc_llm`."""
