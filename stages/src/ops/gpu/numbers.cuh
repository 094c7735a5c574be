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

// What is read again of a number that is written.
INLINE float stored_f32(float value) { return value; }
INLINE float stored_bf16(float value) { return widened(rounded(value)); }

// A product that is rounded before anything is added to it: from the sum of one such product it takes exactly 0.
#ifdef __CUDACC__
INLINE float product(float a, float b) { return __fmul_rn(a, b); }
#else
INLINE float product(float a, float b) { return a * b; }
#endif

// What is read at once, as it lies in memory: several are fetched before the first is opened, and take few registers.
typedef float raw_f32;
typedef bf16 raw_bf16;
INLINE raw_f32 fetch_f32(const float *x, count at) { return x[at]; }
INLINE void open_f32(raw_f32 raw, float *values) { values[0] = raw; }
INLINE void put_f32(float *x, count at, const float *values) { x[at] = values[0]; }
INLINE raw_bf16 fetch_bf16(const bf16 *x, count at) { return x[at]; }
INLINE void open_bf16(raw_bf16 raw, float *values) { values[0] = widened(raw); }
INLINE void put_bf16(bf16 *x, count at, const float *values) { store_bf16(x, at, values[0]); }

#ifdef __CUDACC__
typedef struct { float4 halves[2]; } raw_f32_by8;
typedef uint4 raw_bf16_by8;

INLINE raw_f32_by8 fetch_f32_by8(const float *x, count at) {
  raw_f32_by8 raw;
  UNROLL for (int half = 0; half < 2; half++) raw.halves[half] = __ldg((const float4 *)(x + at) + half);
  return raw;
}

INLINE void open_f32_by8(raw_f32_by8 raw, float *values) {
  UNROLL for (int half = 0; half < 2; half++) {
    values[half * 4] = raw.halves[half].x, values[half * 4 + 1] = raw.halves[half].y;
    values[half * 4 + 2] = raw.halves[half].z, values[half * 4 + 3] = raw.halves[half].w;
  }
}

INLINE void put_f32_by8(float *x, count at, const float *values) {
  UNROLL for (int half = 0; half < 2; half++)
    ((float4 *)(x + at))[half] = make_float4(values[half * 4], values[half * 4 + 1], values[half * 4 + 2],
                                             values[half * 4 + 3]);
}

INLINE raw_bf16_by8 fetch_bf16_by8(const bf16 *x, count at) { return __ldg((const uint4 *)(x + at)); }

INLINE void open_bf16_by8(raw_bf16_by8 raw, float *values) {
  unsigned pairs[4] = {raw.x, raw.y, raw.z, raw.w};
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
  typedef struct { TYPE numbers[8]; } raw_##TYPE##_by8;                                                         \
  INLINE raw_##TYPE##_by8 fetch_##TYPE##_by8(const TYPE *x, count at) {                                         \
    raw_##TYPE##_by8 raw;                                                                                       \
    for (count i = 0; i < 8; i++) raw.numbers[i] = x[at + i];                                                   \
    return raw;                                                                                                 \
  }                                                                                                             \
  INLINE void open_##TYPE##_by8(raw_##TYPE##_by8 raw, float *values) {                                          \
    for (count i = 0; i < 8; i++) values[i] = load_##TYPE(raw.numbers, i);                                      \
  }                                                                                                             \
  INLINE void put_##TYPE##_by8(TYPE *x, count at, const float *values) {                                        \
    for (count i = 0; i < 8; i++) store_##TYPE(x, at + i, values[i]);                                           \
  }
BY8(f32)
BY8(bf16)
#endif

#define TAKE(TAG, TYPE, WIDE)                                                                                   \
  INLINE void take_##TAG(const TYPE *x, count at, float *values) { open_##TAG(fetch_##TAG(x, at), values); }    \
  /* Leaves in `values` what is read again. */                                                                  \
  INLINE void put_stored_##TAG(TYPE *x, count at, float *values) {                                              \
    put_##TAG(x, at, values);                                                                                   \
    UNROLL for (count i = 0; i < WIDE; i++) values[i] = stored_##TYPE(values[i]);                               \
  }

INLINE void floats_1(const float *x, count at, float *values) { values[0] = x[at]; }
INLINE void floats_8(const float *x, count at, float *values) { open_f32_by8(fetch_f32_by8(x, at), values); }

// What follows is made for each way of reading: MAKE(tag, type, numbers at once).
#define EVERY_WAY(MAKE) MAKE(f32, f32, 1) MAKE(bf16, bf16, 1) MAKE(f32_by8, f32, 8) MAKE(bf16_by8, bf16, 8)

EVERY_WAY(TAKE)
