// Sums and maxima over a workgroup whose size is a power of two, on any device.
shared float reduced[gl_WorkGroupSize.x];

float SumOfGroup(float value) {
  uint lane = gl_LocalInvocationID.x;
  barrier();  // the last result has been read
  reduced[lane] = value;
  for (uint half_size = gl_WorkGroupSize.x / 2; half_size > 0; half_size /= 2) {
    barrier();
    if (lane < half_size) reduced[lane] += reduced[lane + half_size];
  }
  barrier();
  return reduced[0];
}

float MaximumOfGroup(float value) {
  uint lane = gl_LocalInvocationID.x;
  barrier();  // the last result has been read
  reduced[lane] = value;
  for (uint half_size = gl_WorkGroupSize.x / 2; half_size > 0; half_size /= 2) {
    barrier();
    if (lane < half_size) reduced[lane] = max(reduced[lane], reduced[lane + half_size]);
  }
  barrier();
  return reduced[0];
}
