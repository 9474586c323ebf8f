// Rows of x, of `cols` values, and the weight of their norm. Bindings 2 and 3.
layout(std430, set = 0, binding = 2) readonly buffer Input { vec4 x[]; };
layout(std430, set = 0, binding = 2) readonly buffer InputValues { float x_values[]; };
layout(std430, set = 0, binding = 3) readonly buffer Norm { vec4 norm[]; };
layout(std430, set = 0, binding = 3) readonly buffer NormValues { float norm_values[]; };

float Dot(vec4 a, vec4 b, float sum) {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

// Values 4 * i and the next three of a row; zeros past its end.
vec4 LoadX(uint row, uint i) {
  if (4 * i >= cols) return vec4(0.0);
  if (kAligned) return x[row * ((cols + 3) / 4) + i];
  vec4 value = vec4(0.0);
  for (uint k = 0; k < 4 && 4 * i + k < cols; ++k) value[k] = x_values[row * cols + 4 * i + k];
  return value;
}

vec4 LoadNorm(uint i) {
  if (!kNorm || 4 * i >= cols) return vec4(1.0);
  if (kAligned) return norm[i];
  vec4 value = vec4(0.0);
  for (uint k = 0; k < 4 && 4 * i + k < cols; ++k) value[k] = norm_values[4 * i + k];
  return value;
}
