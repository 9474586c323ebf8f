// Dispatches that overlap (kPatience > 0): one starts while the one before it still runs, asks for
// what does not depend on that one, and then waits for it here, without a barrier of the queue.
// vulkan/recorder.h says what that counts on. What one writes and the next one reads must be in
// coherent buffers: nothing else makes caches forget what they have.
struct Overlap {
  uint turn;    // the place of this dispatch's counter; or 0, where none waits for it
  uint before;  // workgroups of the dispatch before, whose counter is the one before; or 0
};
// How many workgroups of a dispatch are done, by its turn. The first is not 0 once one has waited
// in vain.
layout(std430, set = 0, binding = COUNTERS) coherent buffer Counters { uint counters[]; };

const bool kOverlaps = kPatience > 0;

// Returns when the dispatch before is done. By all invocations of a workgroup.
void AwaitBefore(Overlap overlap) {
  if (!kOverlaps || overlap.before == 0) return;
  if (gl_LocalInvocationIndex == 0) {
    uint reads = 0;
    while (atomicLoad(counters[overlap.turn - 1], gl_ScopeDevice, gl_StorageSemanticsBuffer,
                      gl_SemanticsRelaxed) < overlap.before) {
      if (++reads == kPatience) counters[0] = 1;
      if (reads % 1024 == 0 && counters[0] != 0) break;
    }
  }
  barrier();
}

// Lets the dispatch that waits for this one have its results. By all invocations of a workgroup.
void TellNext(Overlap overlap) {
  if (!kOverlaps || overlap.turn == 0) return;
  // One invocation fences for all, as fences over the device are slow.
  controlBarrier(gl_ScopeWorkgroup, gl_ScopeWorkgroup, gl_StorageSemanticsBuffer,
                 gl_SemanticsAcquireRelease);
  if (gl_LocalInvocationIndex == 0) {
    memoryBarrierBuffer();
    atomicAdd(counters[overlap.turn], 1);
  }
}
