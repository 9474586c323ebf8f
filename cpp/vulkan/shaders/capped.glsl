// cap * tanh(x / cap). Vulkan lets tanh be sinh / cosh, which from 89 on is no number.
float Capped(float x, float cap) {
  float y = x / cap;
  return cap * (abs(y) > 10.0 ? sign(y) : tanh(y));
}
