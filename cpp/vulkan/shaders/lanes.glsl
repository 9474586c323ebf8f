// Neighbouring invocations, kLanes of them: a subgroup, or what takes its place where subgroups
// cannot add. Everything here is for all invocations of a workgroup at once.
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
uint Lane() { return gl_SubgroupInvocationID; }
uint LaneGroup() { return gl_SubgroupID; }
float SumOfLanes(float value) { return subgroupAdd(value); }
float MaximumOfLanes(float value) { return subgroupMax(value); }
float FlipLanes(float value, uint flip) { return subgroupShuffleXor(value, flip); }
#else
shared float exchanged[gl_WorkGroupSize.x];
uint Lane() { return gl_LocalInvocationID.x % kLanes; }
uint LaneGroup() { return gl_LocalInvocationID.x / kLanes; }
float FlipLanes(float value, uint flip) {
  barrier();
  exchanged[gl_LocalInvocationID.x] = value;
  barrier();
  return exchanged[gl_LocalInvocationID.x ^ flip];
}
float SumOfLanes(float value) {
  for (uint flip = 1; flip < kLanes; flip *= 2) value += FlipLanes(value, flip);
  return value;
}
float MaximumOfLanes(float value) {
  for (uint flip = 1; flip < kLanes; flip *= 2) value = max(value, FlipLanes(value, flip));
  return value;
}
#endif
