// Element by element: PReLU, GELU, the end of a residual branch; and sums over all rows.

#define ACTIVATIONS(TYPE)                                                                                       \
  /* Sums over the rows of a lane: partial [lanes, channels]. */                                                \
  KERNEL columns_##TYPE(count rows, count channels, count lanes, const TYPE *x, float *partial) {               \
    count at = THREAD;                                                                                          \
    if (at >= lanes * channels) return;                                                                         \
    float sum = 0;                                                                                              \
    for (count row = at / channels; row < rows; row += lanes)                                                   \
      sum += load_##TYPE(x, row * channels + at % channels);                                                    \
    partial[at] = sum;                                                                                          \
  }                                                                                                             \
                                                                                                                \
  /* y = limits(x + bias + residual), each where there is one. */                                               \
  KERNEL finish_##TYPE(count all, count channels, const TYPE *x, int biased, const float *bias, int added,      \
                       const TYPE *residual, float lowest, float highest, TYPE *y) {                            \
    count at = THREAD;                                                                                          \
    if (at >= all) return;                                                                                      \
    float value = load_##TYPE(x, at);                                                                           \
    if (biased) value += bias[at % channels];                                                                   \
    if (added) value += load_##TYPE(residual, at);                                                              \
    value = value < lowest ? lowest : value;                                                                    \
    store_##TYPE(y, at, value > highest ? highest : value);                                                     \
  }                                                                                                             \
                                                                                                                \
  KERNEL prelu_##TYPE(count all, count channels, const TYPE *x, const float *slope, TYPE *y) {                  \
    count at = THREAD;                                                                                          \
    if (at >= all) return;                                                                                      \
    float value = load_##TYPE(x, at);                                                                           \
    store_##TYPE(y, at, value > 0 ? value : value * slope[at % channels]);                                      \
  }                                                                                                             \
                                                                                                                \
  /* The gradient by x, and sums of that by the slope over the rows of a lane: partial [lanes, channels]. */    \
  KERNEL prelu_back_##TYPE(count rows, count channels, count lanes, const TYPE *gradient, const TYPE *x,        \
                           const float *slope, float *partial, TYPE *back) {                                    \
    count at = THREAD;                                                                                          \
    if (at >= lanes * channels) return;                                                                         \
    count channel = at % channels;                                                                              \
    float sum = 0, factor = slope[channel];                                                                     \
    for (count row = at / channels; row < rows; row += lanes) {                                                 \
      count place = row * channels + channel;                                                                   \
      float value = load_##TYPE(x, place), given = load_##TYPE(gradient, place);                                \
      sum += value > 0 ? 0.f : given * value;                                                                   \
      store_##TYPE(back, place, value > 0 ? given : given * factor);                                            \
    }                                                                                                           \
    partial[at] = sum;                                                                                          \
  }                                                                                                             \
                                                                                                                \
  KERNEL gelu_##TYPE(count all, const TYPE *x, TYPE *y) {                                                       \
    count at = THREAD;                                                                                          \
    if (at >= all) return;                                                                                      \
    float value = load_##TYPE(x, at);                                                                           \
    store_##TYPE(y, at, 0.5f * value * erfcf(-0.70710678f * value));                                            \
  }                                                                                                             \
                                                                                                                \
  KERNEL gelu_back_##TYPE(count all, const TYPE *gradient, const TYPE *x, TYPE *back) {                         \
    count at = THREAD;                                                                                          \
    if (at >= all) return;                                                                                      \
    float value = load_##TYPE(x, at), share = 0.5f * erfcf(-0.70710678f * value);                               \
    float density = 0.39894228f * expf(-0.5f * value * value);                                                  \
    store_##TYPE(back, at, load_##TYPE(gradient, at) * (share + value * density));                              \
  }                                                                                                             \
                                                                                                                \
  /* straight + keep * scale * branch; `image` numbers belong to each of `keep`. */                             \
  KERNEL scaled_sum_##TYPE(count all, count channels, count image, const TYPE *straight, const TYPE *branch,    \
                           const float *scale, const float *keep, TYPE *y) {                                    \
    count at = THREAD;                                                                                          \
    if (at >= all) return;                                                                                      \
    float factor = scale[at % channels] * keep[at / image];                                                     \
    store_##TYPE(y, at, load_##TYPE(straight, at) + load_##TYPE(branch, at) * factor);                          \
  }                                                                                                             \
                                                                                                                \
  /* The gradient by the branch, and sums of that by the scale over the rows of a lane. */                      \
  KERNEL scaled_back_##TYPE(count rows, count channels, count lanes, count image, const TYPE *gradient,         \
                            const TYPE *branch, const float *scale, const float *keep, float *partial,          \
                            TYPE *back) {                                                                       \
    count at = THREAD;                                                                                          \
    if (at >= lanes * channels) return;                                                                         \
    count channel = at % channels;                                                                              \
    float sum = 0, factor = scale[channel];                                                                     \
    for (count row = at / channels; row < rows; row += lanes) {                                                 \
      count place = row * channels + channel;                                                                   \
      float given = load_##TYPE(gradient, place) * keep[place / image];                                         \
      sum += given * load_##TYPE(branch, place);                                                                \
      store_##TYPE(back, place, given * factor);                                                                \
    }                                                                                                           \
    partial[at] = sum;                                                                                          \
  }

ACTIVATIONS(f32)
ACTIVATIONS(bf16)
