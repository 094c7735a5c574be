// Convolution of each channel on its own. Weights are [taps, channels], so that neighbouring threads read
// neighbouring numbers of everything. Kernels of fixed sizes keep what they have read of a row.

#define GEOMETRY                                                                                                \
  count images, count height, count width, count channels, count rows, count columns, count above, count left

// y = convolution of x, + bias where `biased`; `turned` takes the weight from its end, as the gradient by x wants.
// A thread has WIDE neighbours of a row of the result.
#define DEPTHWISE(TYPE, SIDE, STRIDE, WIDE)                                                                     \
  KERNEL depthwise_##SIDE##_##STRIDE##_##TYPE(GEOMETRY, int turned, const TYPE *x, const float *weight,         \
                                              int biased, const float *bias, TYPE *y) {                         \
    count at = THREAD, tiles = (columns + WIDE - 1) / WIDE;                                                     \
    if (at >= images * rows * tiles * channels) return;                                                         \
    count channel = at % channels, tile = at / channels % tiles, line = at / channels / tiles;                  \
    count image = line / rows, row = line % rows, first = tile * WIDE;                                          \
    float sums[WIDE], seen[(WIDE - 1) * STRIDE + SIDE];                                                         \
    UNROLL for (int i = 0; i < WIDE; i++) sums[i] = biased ? bias[channel] : 0.f;                               \
    for (int down = 0; down < SIDE; down++) {                                                                   \
      int from = (int)(row * STRIDE) + down - (int)above;                                                       \
      if (from < 0 || from >= (int)height) continue;                                                            \
      count start = (image * height + (count)from) * width;                                                     \
      UNROLL for (int i = 0; i < (WIDE - 1) * STRIDE + SIDE; i++) {                                             \
        int column = (int)(first * STRIDE) + i - (int)left;                                                     \
        seen[i] = column >= 0 && column < (int)width                                                            \
                      ? load_##TYPE(x, (start + (count)column) * channels + channel)                            \
                      : 0.f;                                                                                    \
      }                                                                                                         \
      UNROLL for (int right = 0; right < SIDE; right++) {                                                       \
        int tap = down * SIDE + right;                                                                          \
        float factor = weight[(count)(turned ? SIDE * SIDE - 1 - tap : tap) * channels + channel];              \
        UNROLL for (int i = 0; i < WIDE; i++) sums[i] += factor * seen[i * STRIDE + right];                     \
      }                                                                                                         \
    }                                                                                                           \
    UNROLL for (int i = 0; i < WIDE; i++)                                                                       \
      if (first + (count)i < columns) store_##TYPE(y, (line * columns + first + (count)i) * channels + channel, sums[i]); \
  }                                                                                                             \
                                                                                                                \
  /* The gradient by one row of the weight over the lines of a lane: partial [lanes, taps, channels]. */        \
  KERNEL depthwise_weight_##SIDE##_##STRIDE##_##TYPE(GEOMETRY, count lanes, const TYPE *x,                      \
                                                     const TYPE *gradient, float *partial) {                    \
    count at = THREAD;                                                                                          \
    if (at >= lanes * SIDE * channels) return;                                                                  \
    count channel = at % channels, down = at / channels % SIDE, lane = at / channels / SIDE;                    \
    float sums[SIDE], seen[SIDE];                                                                               \
    UNROLL for (int i = 0; i < SIDE; i++) sums[i] = 0.f;                                                        \
    for (count line = lane; line < images * rows; line += lanes) {                                              \
      int from = (int)(line % rows * STRIDE + down) - (int)above;                                               \
      if (from < 0 || from >= (int)height) continue;                                                            \
      count start = (line / rows * height + (count)from) * width;                                               \
      /* what the first pixel sees, moved by one to the right */                                                \
      UNROLL for (int i = 0; i < SIDE; i++) {                                                                   \
        int column = i - STRIDE - (int)left;                                                                    \
        seen[i] = column >= 0 && column < (int)width                                                            \
                      ? load_##TYPE(x, (start + (count)column) * channels + channel)                            \
                      : 0.f;                                                                                    \
      }                                                                                                         \
      for (count pixel = 0; pixel < columns; pixel++) {                                                         \
        UNROLL for (int i = 0; i < SIDE - STRIDE; i++) seen[i] = seen[i + STRIDE];                              \
        UNROLL for (int i = SIDE - STRIDE; i < SIDE; i++) {                                                     \
          int column = (int)(pixel * STRIDE) + i - (int)left;                                                   \
          seen[i] = column >= 0 && column < (int)width                                                          \
                        ? load_##TYPE(x, (start + (count)column) * channels + channel)                          \
                        : 0.f;                                                                                  \
        }                                                                                                       \
        float given = load_##TYPE(gradient, (line * columns + pixel) * channels + channel);                     \
        UNROLL for (int i = 0; i < SIDE; i++) sums[i] += given * seen[i];                                       \
      }                                                                                                         \
    }                                                                                                           \
    UNROLL for (int i = 0; i < SIDE; i++)                                                                       \
      partial[((lane * SIDE + down) * SIDE + (count)i) * channels + channel] = sums[i];                         \
  }

// Any window, one number of the result a thread.
#define WINDOW count tall, count broad, count stride_down, count stride_right, count gap_down, count gap_right

#define ANY_DEPTHWISE(TYPE)                                                                                     \
  KERNEL depthwise_any_##TYPE(GEOMETRY, WINDOW, const TYPE *x, const float *weight, int biased,                 \
                              const float *bias, TYPE *y) {                                                     \
    count at = THREAD;                                                                                          \
    if (at >= images * rows * columns * channels) return;                                                       \
    count channel = at % channels, pixel = at / channels;                                                       \
    count column = pixel % columns, row = pixel / columns % rows, image = pixel / columns / rows;               \
    float sum = biased ? bias[channel] : 0.f;                                                                   \
    for (count tap = 0; tap < tall * broad; tap++) {                                                            \
      int down = (int)(row * stride_down + tap / broad * gap_down) - (int)above;                                \
      int right = (int)(column * stride_right + tap % broad * gap_right) - (int)left;                           \
      if (down < 0 || down >= (int)height || right < 0 || right >= (int)width) continue;                        \
      count from = ((image * height + (count)down) * width + (count)right) * channels + channel;                \
      sum += weight[tap * channels + channel] * load_##TYPE(x, from);                                           \
    }                                                                                                           \
    store_##TYPE(y, at, sum);                                                                                   \
  }                                                                                                             \
                                                                                                                \
  KERNEL depthwise_back_any_##TYPE(GEOMETRY, WINDOW, const TYPE *gradient, const float *weight, TYPE *back) {   \
    count at = THREAD;                                                                                          \
    if (at >= images * height * width * channels) return;                                                       \
    count channel = at % channels, pixel = at / channels;                                                       \
    count column = pixel % width, row = pixel / width % height, image = pixel / width / height;                 \
    float sum = 0.f;                                                                                            \
    for (count tap = 0; tap < tall * broad; tap++) {                                                            \
      int down = (int)(row + above) - (int)(tap / broad * gap_down);                                            \
      int right = (int)(column + left) - (int)(tap % broad * gap_right);                                        \
      if (down < 0 || right < 0 || down % (int)stride_down || right % (int)stride_right) continue;              \
      count line = (count)down / stride_down, place = (count)right / stride_right;                              \
      if (line >= rows || place >= columns) continue;                                                           \
      count from = ((image * rows + line) * columns + place) * channels + channel;                              \
      sum += weight[tap * channels + channel] * load_##TYPE(gradient, from);                                    \
    }                                                                                                           \
    store_##TYPE(back, at, sum);                                                                                \
  }                                                                                                             \
                                                                                                                \
  KERNEL depthwise_weight_any_##TYPE(GEOMETRY, WINDOW, count lanes, const TYPE *x, const TYPE *gradient,        \
                                     float *partial) {                                                          \
    count at = THREAD, taps = tall * broad;                                                                     \
    if (at >= lanes * taps * channels) return;                                                                  \
    count channel = at % channels, tap = at / channels % taps, lane = at / channels / taps;                     \
    float sum = 0.f;                                                                                            \
    for (count line = lane; line < images * rows; line += lanes) {                                              \
      int down = (int)(line % rows * stride_down + tap / broad * gap_down) - (int)above;                        \
      if (down < 0 || down >= (int)height) continue;                                                            \
      count start = (line / rows * height + (count)down) * width;                                               \
      for (count column = 0; column < columns; column++) {                                                      \
        int right = (int)(column * stride_right + tap % broad * gap_right) - (int)left;                         \
        if (right < 0 || right >= (int)width) continue;                                                         \
        sum += load_##TYPE(x, (start + (count)right) * channels + channel) *                                    \
               load_##TYPE(gradient, (line * columns + column) * channels + channel);                           \
      }                                                                                                         \
    }                                                                                                           \
    partial[at] = sum;                                                                                          \
  }

#define DEPTHWISES(TYPE)                                                                                        \
  DEPTHWISE(TYPE, 3, 1, 4)                                                                                      \
  DEPTHWISE(TYPE, 3, 2, 4)                                                                                      \
  DEPTHWISE(TYPE, 7, 1, 7)                                                                                      \
  ANY_DEPTHWISE(TYPE)
DEPTHWISES(f32)
DEPTHWISES(bf16)
