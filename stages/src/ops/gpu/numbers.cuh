// Reading and writing numbers: one at a time (tags f32 and bf16), or eight neighbours at once, which must lie at a
// multiple of 16 bytes (f32_by8 and bf16_by8).

INLINE float load_f32(const float *x, count at) { return x[at]; }
INLINE void store_f32(float *x, count at, float value) { x[at] = value; }

INLINE float widened(unsigned bits) {
  union { unsigned bits; float value; } whole;
  whole.bits = bits << 16;
  return whole.value;
}

// To the nearest, of two as near to the even one; what is not a number stays so.
INLINE unsigned rounded(float value) {
  union { unsigned bits; float value; } whole;
  whole.value = value;
  return value != value ? 0x7fc0 : (whole.bits + 0x7fff + (whole.bits >> 16 & 1)) >> 16;
}

INLINE float load_bf16(const bf16 *x, count at) { return widened(x[at]); }
INLINE void store_bf16(bf16 *x, count at, float value) { x[at] = (bf16)rounded(value); }

INLINE void take_f32(const float *x, count at, float *values) { values[0] = x[at]; }
INLINE void put_f32(float *x, count at, const float *values) { x[at] = values[0]; }
INLINE void take_bf16(const bf16 *x, count at, float *values) { values[0] = load_bf16(x, at); }
INLINE void put_bf16(bf16 *x, count at, const float *values) { store_bf16(x, at, values[0]); }

// A product that is rounded before anything is added to it: from the sum of one such product it takes exactly 0.
#ifdef __CUDACC__
INLINE float product(float a, float b) { return __fmul_rn(a, b); }
#else
INLINE float product(float a, float b) { return a * b; }
#endif

#ifdef __CUDACC__
INLINE void take_f32_by8(const float *x, count at, float *values) {
  UNROLL for (int half = 0; half < 2; half++) {
    float4 four = __ldg((const float4 *)(x + at) + half);
    values[half * 4] = four.x, values[half * 4 + 1] = four.y;
    values[half * 4 + 2] = four.z, values[half * 4 + 3] = four.w;
  }
}

INLINE void put_f32_by8(float *x, count at, const float *values) {
  UNROLL for (int half = 0; half < 2; half++)
    ((float4 *)(x + at))[half] = make_float4(values[half * 4], values[half * 4 + 1], values[half * 4 + 2],
                                             values[half * 4 + 3]);
}

INLINE void take_bf16_by8(const bf16 *x, count at, float *values) {
  uint4 four = __ldg((const uint4 *)(x + at));
  unsigned pairs[4] = {four.x, four.y, four.z, four.w};
  UNROLL for (int pair = 0; pair < 4; pair++) {
    values[pair * 2] = widened(pairs[pair]);
    values[pair * 2 + 1] = __uint_as_float(pairs[pair] & 0xffff0000u);
  }
}

INLINE void put_bf16_by8(bf16 *x, count at, const float *values) {
  unsigned pairs[4];
  UNROLL for (int pair = 0; pair < 4; pair++)
    pairs[pair] = rounded(values[pair * 2]) | rounded(values[pair * 2 + 1]) << 16;
  *(uint4 *)(x + at) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}
#else
#define BY8(TYPE)                                                                                               \
  INLINE void take_##TYPE##_by8(const TYPE *x, count at, float *values) {                                       \
    for (count i = 0; i < 8; i++) values[i] = load_##TYPE(x, at + i);                                           \
  }                                                                                                             \
  INLINE void put_##TYPE##_by8(TYPE *x, count at, const float *values) {                                        \
    for (count i = 0; i < 8; i++) store_##TYPE(x, at + i, values[i]);                                           \
  }
BY8(f32)
BY8(bf16)
#endif

INLINE void floats_1(const float *x, count at, float *values) { values[0] = x[at]; }
INLINE void floats_8(const float *x, count at, float *values) { take_f32_by8(x, at, values); }

// What follows is made for each way of reading: MAKE(tag, type, numbers at once).
#define EVERY_WAY(MAKE) MAKE(f32, f32, 1) MAKE(bf16, bf16, 1) MAKE(f32_by8, f32, 8) MAKE(bf16_by8, bf16, 8)
