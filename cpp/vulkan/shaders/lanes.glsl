// Neighbouring invocations, kLanes of them: a subgroup, or what takes its place where subgroups
// cannot exchange values. Everything here is for all invocations of a workgroup at once.
#ifdef SUBGROUP
#define FLIPS [[unroll]]  // a driver may not unroll a loop that doubles by itself
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_shuffle : require
uint Lane() { return gl_SubgroupInvocationID; }
uint LaneGroup() { return gl_SubgroupID; }
float FlipLanes(float value, uint flip) { return subgroupShuffleXor(value, flip); }
// Shows a lane group what its lanes have written to shared memory.
void SyncLanes() {
  controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared,
                 gl_SemanticsAcquireRelease);
}
#else
#define FLIPS [[dont_unroll]]
shared float exchanged[gl_WorkGroupSize.x];
uint Lane() { return gl_LocalInvocationID.x % kLanes; }
uint LaneGroup() { return gl_LocalInvocationID.x / kLanes; }
float FlipLanes(float value, uint flip) {
  barrier();
  exchanged[gl_LocalInvocationID.x] = value;
  barrier();
  return exchanged[gl_LocalInvocationID.x ^ flip];
}
void SyncLanes() { barrier(); }
#endif

// In the same order in every shader, whatever makes the lanes.
float SumOfLanes(float value) {
  FLIPS for (uint i = 0; i < 7; ++i) {
    if (1u << i < kLanes) value += FlipLanes(value, 1u << i);
  }
  return value;
}
