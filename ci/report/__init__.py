"""What people read at the end of a session: tables in the terminal, and one HTML page."""
