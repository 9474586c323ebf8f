// out[N] = weight[N, K] @ x[K] for q4f16_1 weights; see runtime/linear.h for the layout.
//
// A workgroup computes `rows_per_group` rows at a time, so that each part of x is read and
// widened once for all of them. Its invocations walk along K side by side, one quantization group
// (32 values, one 16-byte load) each, so that neighbours read neighbouring words.
// Needs nothing beyond Vulkan 1.2: float16 is read through 32-bit words.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint rows_per_group = 4;  // even: two float16 results to a word

layout(push_constant) uniform Shape {
  uint rows;    // N
  uint groups;  // ceil(K / 32)
};
layout(std430, set = 0, binding = 0) readonly buffer Words { uvec4 words[]; };
layout(std430, set = 0, binding = 1) readonly buffer Scales { uint scales[]; };
layout(std430, set = 0, binding = 2) readonly buffer Input { uvec4 x[]; };
layout(std430, set = 0, binding = 3) writeonly buffer Output { uint result[]; };

float Scale(uint index) {
  vec2 pair = unpackHalf2x16(scales[index >> 1]);
  return (index & 1) == 0 ? pair.x : pair.y;
}

// The four bytes as floats; GPUs with a byte-to-float instruction use it for this.
vec4 Bytes(uint word) { return vec4(uvec4(word, word >> 8, word >> 16, word >> 24) & 0xffu); }

// Rounds to the nearest float16, ties to even; packHalf2x16 may round towards zero.
uint Half(float value) {
  uint bits = floatBitsToUint(value);
  uint sign = (bits >> 16) & 0x8000u;
  uint size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return 0x7e00u;          // not a number
  if (size >= 0x47800000u) return sign | 0x7c00u;  // 65536 and more
  if (size < 0x38800000u) {
    // Below 2^-14, float16 is a multiple of 2^-24, which is the last bit of a float32 near 0.5.
    return sign | (floatBitsToUint(uintBitsToFloat(size) + 0.5) - floatBitsToUint(0.5));
  }
  size += 0xfffu + ((size >> 13) & 1u);  // a carry may go into the exponent, as it should
  return sign | ((size - 0x38000000u) >> 13);
}

float sums[rows_per_group];

// Leaves in `sums`, in invocation 0, the sums over the workgroup.
void Reduce();

void main() {
  for (uint first = gl_WorkGroupID.x * rows_per_group; first < rows;
       first += gl_NumWorkGroups.x * rows_per_group) {
    for (uint r = 0; r < rows_per_group; ++r) sums[r] = 0.0;

    for (uint group = gl_LocalInvocationID.x; group < groups; group += gl_WorkGroupSize.x) {
      // The eight values that meet one weight word: those of the even and of the odd nibbles.
      vec4 even[4];
      vec4 odd[4];
      vec4 total = vec4(0.0);
      for (uint i = 0; i < 4; ++i) {
        uvec4 halves = x[4 * group + i];
        vec2 a = unpackHalf2x16(halves.x);
        vec2 b = unpackHalf2x16(halves.y);
        vec2 c = unpackHalf2x16(halves.z);
        vec2 d = unpackHalf2x16(halves.w);
        even[i] = vec4(a.x, b.x, c.x, d.x);
        odd[i] = vec4(a.y, b.y, c.y, d.y);
        total += even[i] + odd[i];
      }
      // sum((nibble - 7) * x) = sum(nibble * x) - 7 * sum(x), whose last part all rows share.
      float bias = -7.0 * dot(total, vec4(1.0));

      for (uint r = 0; r < rows_per_group; ++r) {
        // Rows past the end repeat the last one: cheaper than a branch, and never written.
        uint at = min(first + r, rows - 1) * groups + group;
        uvec4 word = words[at];
        float sum = bias;
        for (uint i = 0; i < 4; ++i) {
          sum += dot(Bytes(word[i] & 0x0f0f0f0fu), even[i]);
          sum += dot(Bytes((word[i] >> 4) & 0x0f0f0f0fu), odd[i]);
        }
        sums[r] += Scale(at) * sum;
      }
    }

    Reduce();
    if (gl_LocalInvocationID.x == 0) {
      for (uint r = 0; r < rows_per_group && first + r < rows; r += 2) {
        result[(first + r) >> 1] = Half(sums[r]) | (Half(sums[r + 1]) << 16);
      }
    }
  }
}
