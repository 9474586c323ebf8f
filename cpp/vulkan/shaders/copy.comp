#version 460
// to = from, four 16-byte loads to an invocation, all of them before the first store.
layout(local_size_x = 128) in;

layout(push_constant) uniform Shape { uint vectors; };  // a multiple of 512
layout(std430, set = 0, binding = 0) readonly buffer From { uvec4 from[]; };
layout(std430, set = 0, binding = 1) writeonly buffer To { uvec4 to[]; };

void main() {
  for (uint first = gl_WorkGroupID.x * 512 + gl_LocalInvocationID.x; first < vectors;
       first += gl_NumWorkGroups.x * 512) {
    uvec4 a = from[first];
    uvec4 b = from[first + 128];
    uvec4 c = from[first + 256];
    uvec4 d = from[first + 384];
    to[first] = a;
    to[first + 128] = b;
    to[first + 256] = c;
    to[first + 384] = d;
  }
}
