// Kernels of the operators for GPUs, in plain C: no thread waits for another, so that a C compiler can run
// them one thread after the other (emulation.c) and their numbers are checked where there is no GPU.
//
// Arrays are [rows, channels]; a sum over rows is cut into lanes, then folded in a fixed order: the same
// bytes each time. Sums are f32 within a lane, and f64 from lane to lane.

#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
#define INLINE static __device__ __forceinline__
#define THREAD (blockIdx.x * blockDim.x + threadIdx.x)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

typedef unsigned short bf16;
typedef unsigned char byte;
typedef unsigned long address;
// The host launches nothing on more than 2^31 numbers: a division in 64 bits costs a kernel its speed.
typedef unsigned count;

INLINE float load_f32(const float *x, count at) { return x[at]; }
INLINE void store_f32(float *x, count at, float value) { x[at] = value; }

INLINE float load_bf16(const bf16 *x, count at) {
  union { unsigned bits; float value; } whole;
  whole.bits = (unsigned)x[at] << 16;
  return whole.value;
}

// To the nearest, of two as near to the even one; what is not a number stays so.
INLINE void store_bf16(bf16 *x, count at, float value) {
  union { unsigned bits; float value; } whole;
  whole.value = value;
  if (value != value)
    x[at] = 0x7fc0;
  else
    x[at] = (bf16)((whole.bits + 0x7fff + (whole.bits >> 16 & 1)) >> 16);
}

// Adds up `take` lines of `width` numbers at a time: partial [lines, width] to folded [lines / take, width].
KERNEL fold(count lines, count width, count take, const float *partial, float *folded) {
  count at = THREAD, folds = (lines + take - 1) / take;
  if (at >= folds * width) return;
  count first = at / width * take, last = first + take < lines ? first + take : lines;
  double sum = 0;
  for (count line = first; line < last; line++) sum += partial[line * width + at % width];
  folded[at] = (float)sum;
}

// Mean and biased variance of each channel, from sums of what exceeds its first value and of the squares.
KERNEL moments(count rows, count channels, const float *first, const float *sums, float *mean, float *variance) {
  count channel = THREAD;
  if (channel >= channels) return;
  double sum = sums[channel], squares = sums[channels + channel];
  double centre = sum / (double)rows, spread = squares / (double)rows - centre * centre;
  mean[channel] = (float)(first[channel] + centre);
  variance[channel] = spread > 0 ? (float)spread : spread == spread ? 0.f : (float)spread;
}

#define NORM(TYPE)                                                                                              \
  /* The first value of each channel, near which its others lie: sums of differences from it lose little. */    \
  KERNEL first_##TYPE(count channels, const TYPE *x, float *first) {                                            \
    count channel = THREAD;                                                                                     \
    if (channel < channels) first[channel] = load_##TYPE(x, channel);                                           \
  }                                                                                                             \
                                                                                                                \
  /* Sums and sums of squares over the rows of a lane: partial [lanes, 2, channels]. */                         \
  KERNEL statistics_##TYPE(count rows, count channels, count lanes, const TYPE *x, const float *first,          \
                           float *partial) {                                                                    \
    count at = THREAD;                                                                                          \
    if (at >= lanes * channels) return;                                                                         \
    count lane = at / channels, channel = at % channels;                                                        \
    float centre = first[channel], sum = 0, squares = 0;                                                        \
    for (count row = lane; row < rows; row += lanes) {                                                          \
      float apart = load_##TYPE(x, row * channels + channel) - centre;                                          \
      sum += apart;                                                                                             \
      squares += apart * apart;                                                                                 \
    }                                                                                                           \
    partial[lane * 2 * channels + channel] = sum;                                                               \
    partial[(lane * 2 + 1) * channels + channel] = squares;                                                     \
  }                                                                                                             \
                                                                                                                \
  /* y = limits((x - mean) * scale + bias + residual); no residual where `added` is 0. */                       \
  KERNEL normalize_##TYPE(count rows, count channels, const TYPE *x, const float *mean, const float *scale,     \
                          const float *bias, int added, const TYPE *residual, float lowest, float highest,      \
                          TYPE *y) {                                                                            \
    count at = THREAD;                                                                                          \
    if (at >= rows * channels) return;                                                                          \
    count channel = at % channels;                                                                              \
    float value = (load_##TYPE(x, at) - mean[channel]) * scale[channel] + bias[channel];                        \
    if (added) value += load_##TYPE(residual, at);                                                              \
    /* what is not a number is neither, and stays */                                                            \
    value = value < lowest ? lowest : value;                                                                    \
    store_##TYPE(y, at, value > highest ? highest : value);                                                     \
  }                                                                                                             \
                                                                                                                \
  /* The gradient where the result lies between the limits, else 0; everywhere where there are none. */         \
  INLINE float masked_##TYPE(const TYPE *gradient, int limits, const TYPE *y, float lowest, float highest,      \
                             count at) {                                                                        \
    float value = load_##TYPE(gradient, at);                                                                    \
    if (!limits) return value;                                                                                  \
    float result = load_##TYPE(y, at);                                                                          \
    return result > lowest && result < highest ? value : 0.f;                                                   \
  }                                                                                                             \
                                                                                                                \
  /* Sums of the masked gradient, and of it times the normalized x, over the rows of a lane. */                 \
  KERNEL back_sums_##TYPE(count rows, count channels, count lanes, const TYPE *gradient, const TYPE *x,         \
                          int limits, const TYPE *y, float lowest, float highest, const float *mean,            \
                          const float *inverse, float *partial) {                                               \
    count at = THREAD;                                                                                          \
    if (at >= lanes * channels) return;                                                                         \
    count lane = at / channels, channel = at % channels;                                                        \
    float centre = mean[channel], by_bias = 0, by_weight = 0;                                                   \
    for (count row = lane; row < rows; row += lanes) {                                                          \
      count place = row * channels + channel;                                                                   \
      float value = masked_##TYPE(gradient, limits, y, lowest, highest, place);                                 \
      by_bias += value;                                                                                         \
      by_weight += value * (load_##TYPE(x, place) - centre);                                                    \
    }                                                                                                           \
    partial[lane * 2 * channels + channel] = by_bias;                                                           \
    partial[(lane * 2 + 1) * channels + channel] = by_weight * inverse[channel];                                \
  }                                                                                                             \
                                                                                                                \
  /* The gradient by x, and where `passed` is not 0 the masked gradient itself, which the residual gets. */     \
  KERNEL back_##TYPE(count rows, count channels, const TYPE *gradient, const TYPE *x, int limits,               \
                     const TYPE *y, float lowest, float highest, const float *mean, const float *inverse,       \
                     const float *scale, const float *sums, int passed, TYPE *masked, TYPE *back) {             \
    count at = THREAD;                                                                                          \
    if (at >= rows * channels) return;                                                                          \
    count channel = at % channels;                                                                              \
    float value = masked_##TYPE(gradient, limits, y, lowest, highest, at);                                      \
    if (passed) store_##TYPE(masked, at, value);                                                                \
    float normal = (load_##TYPE(x, at) - mean[channel]) * inverse[channel], share = 1.f / (float)rows;          \
    value -= (sums[channel] + normal * sums[channels + channel]) * share;                                       \
    store_##TYPE(back, at, value * scale[channel]);                                                             \
  }

typedef float f32;
NORM(f32)
NORM(bf16)

#include "activations.cuh"
#include "depthwise.cuh"
#include "layer_norm.cuh"
#include "losses.cuh"
#include "patches.cuh"
#include "pictures.cuh"
#include "pools.cuh"
#include "update.cuh"
#include "weights.cuh"
