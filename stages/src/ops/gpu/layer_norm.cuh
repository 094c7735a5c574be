// Normalization of each row: a thread has a whole row, and finds it in the cache after the first reading.

#define LAYER_NORM(TYPE)                                                                                        \
  /* Mean and 1 / deviation of each row, and the normalized row. */                                             \
  KERNEL layer_norm_##TYPE(count rows, count channels, const TYPE *x, const float *weight, const float *bias,   \
                           float epsilon, float *mean, float *inverse, TYPE *y) {                               \
    count row = THREAD;                                                                                         \
    if (row >= rows) return;                                                                                    \
    count first = row * channels;                                                                               \
    float sum = 0, squares = 0;                                                                                 \
    for (count channel = 0; channel < channels; channel++) sum += load_##TYPE(x, first + channel);              \
    float centre = sum / (float)channels;                                                                       \
    for (count channel = 0; channel < channels; channel++) {                                                    \
      float apart = load_##TYPE(x, first + channel) - centre;                                                   \
      squares += apart * apart;                                                                                 \
    }                                                                                                           \
    float factor = 1.f / sqrtf(squares / (float)channels + epsilon);                                            \
    mean[row] = centre;                                                                                         \
    inverse[row] = factor;                                                                                      \
    for (count channel = 0; channel < channels; channel++) {                                                    \
      float normal = (load_##TYPE(x, first + channel) - centre) * factor;                                       \
      store_##TYPE(y, first + channel, normal * weight[channel] + bias[channel]);                               \
    }                                                                                                           \
  }                                                                                                             \
                                                                                                                \
  /* Sums of the gradient, and of it times the normalized x, over the rows of a lane: [lanes, 2, channels]. */  \
  KERNEL layer_sums_##TYPE(count rows, count channels, count lanes, const TYPE *gradient, const TYPE *x,        \
                           const float *mean, const float *inverse, float *partial) {                           \
    count at = THREAD;                                                                                          \
    if (at >= lanes * channels) return;                                                                         \
    count lane = at / channels, channel = at % channels;                                                        \
    float by_bias = 0, by_weight = 0;                                                                           \
    for (count row = lane; row < rows; row += lanes) {                                                          \
      count place = row * channels + channel;                                                                   \
      float value = load_##TYPE(gradient, place);                                                               \
      by_bias += value;                                                                                         \
      by_weight += value * (load_##TYPE(x, place) - mean[row]) * inverse[row];                                  \
    }                                                                                                           \
    partial[lane * 2 * channels + channel] = by_bias;                                                           \
    partial[(lane * 2 + 1) * channels + channel] = by_weight;                                                   \
  }                                                                                                             \
                                                                                                                \
  KERNEL layer_back_##TYPE(count rows, count channels, const TYPE *gradient, const TYPE *x,                     \
                           const float *weight, const float *mean, const float *inverse, TYPE *back) {          \
    count row = THREAD;                                                                                         \
    if (row >= rows) return;                                                                                    \
    count first = row * channels;                                                                               \
    float centre = mean[row], factor = inverse[row], level = 0, slope = 0;                                      \
    for (count channel = 0; channel < channels; channel++) {                                                    \
      float value = load_##TYPE(gradient, first + channel) * weight[channel];                                   \
      level += value;                                                                                           \
      slope += value * (load_##TYPE(x, first + channel) - centre) * factor;                                     \
    }                                                                                                           \
    level /= (float)channels;                                                                                   \
    slope /= (float)channels;                                                                                   \
    for (count channel = 0; channel < channels; channel++) {                                                    \
      float value = load_##TYPE(gradient, first + channel) * weight[channel];                                   \
      float normal = (load_##TYPE(x, first + channel) - centre) * factor;                                       \
      store_##TYPE(back, first + channel, (value - level - normal * slope) * factor);                           \
    }                                                                                                           \
  }

LAYER_NORM(f32)
LAYER_NORM(bf16)
