// The largest number of each window, and the mean over all pixels.

#define MAX_POOL(TAG, TYPE, WIDE)                                                                               \
  /* Of equals the first; what is not a number wins. `places` says which of the window it was. */               \
  KERNEL max_pool_##TAG(GEOMETRY, count side, count stride, const TYPE *x, byte *places, TYPE *y) {             \
    const count wide = WIDE;                                                                                    \
    count at = THREAD, vectors = channels / wide;                                                               \
    if (at >= images * rows * columns * vectors) return;                                                        \
    count channel = at % vectors * wide, pixel = at / vectors;                                                  \
    count column = pixel % columns, row = pixel / columns % rows, image = pixel / columns / rows;               \
    float largest[WIDE], values[WIDE];                                                                          \
    int place[WIDE];                                                                                            \
    EACH_NUMBER largest[i] = 0, place[i] = -1;                                                                  \
    for (count tap = 0; tap < side * side; tap++) {                                                             \
      int down = (int)(row * stride + tap / side) - (int)above;                                                 \
      int right = (int)(column * stride + tap % side) - (int)left;                                              \
      if (down < 0 || down >= (int)height || right < 0 || right >= (int)width) continue;                        \
      take_##TAG(x, ((image * height + (count)down) * width + (count)right) * channels + channel, values);      \
      EACH_NUMBER {                                                                                             \
        int higher = place[i] < 0 || values[i] > largest[i] || values[i] != values[i];                          \
        largest[i] = higher ? values[i] : largest[i];                                                           \
        place[i] = higher ? (int)tap : place[i];                                                                \
      }                                                                                                         \
    }                                                                                                           \
    EACH_NUMBER places[at * wide + i] = (byte)place[i];                                                         \
    put_##TAG(y, at * wide, largest);                                                                           \
  }                                                                                                             \
                                                                                                                \
  /* Gathers for each pixel what the windows that took it were given. */                                        \
  KERNEL max_pool_back_##TAG(GEOMETRY, count side, count stride, const TYPE *gradient, const byte *places,      \
                             TYPE *back) {                                                                      \
    const count wide = WIDE;                                                                                    \
    count at = THREAD, vectors = channels / wide;                                                               \
    if (at >= images * height * width * vectors) return;                                                        \
    count channel = at % vectors * wide, pixel = at / vectors;                                                  \
    count column = pixel % width, row = pixel / width % height, image = pixel / width / height;                 \
    count below = row + above, beside = column + left;                                                          \
    float sum[WIDE], given[WIDE];                                                                               \
    EACH_NUMBER sum[i] = 0;                                                                                     \
    for (count line = below < side ? 0 : (below - side) / stride + 1; line <= below / stride && line < rows; line++)\
      for (count spot = beside < side ? 0 : (beside - side) / stride + 1;                                       \
           spot <= beside / stride && spot < columns; spot++) {                                                 \
        count from = ((image * rows + line) * columns + spot) * channels + channel;                             \
        count here = (below - line * stride) * side + beside - spot * stride;                                   \
        take_##TAG(gradient, from, given);                                                                      \
        EACH_NUMBER sum[i] += places[from + i] == here ? given[i] : 0.f;                                        \
      }                                                                                                         \
    put_##TAG(back, at * wide, sum);                                                                            \
  }
EVERY_WAY(MAX_POOL)

#define AVERAGE_POOL(TYPE)                                                                                      \
  KERNEL average_pool_##TYPE(count images, count pixels, count channels, const TYPE *x, TYPE *y) {              \
    count at = THREAD;                                                                                          \
    if (at >= images * channels) return;                                                                        \
    double sum = 0;                                                                                             \
    for (count pixel = 0; pixel < pixels; pixel++)                                                              \
      sum += load_##TYPE(x, (at / channels * pixels + pixel) * channels + at % channels);                       \
    store_##TYPE(y, at, (float)(sum / (double)pixels));                                                         \
  }                                                                                                             \
                                                                                                                \
  KERNEL average_pool_back_##TYPE(count images, count pixels, count channels, const TYPE *gradient, TYPE *back) { \
    count at = THREAD;                                                                                          \
    if (at >= images * pixels * channels) return;                                                               \
    float share = 1.f / (float)pixels;                                                                          \
    store_##TYPE(back, at, load_##TYPE(gradient, at / channels / pixels * channels + at % channels) * share);   \
  }

AVERAGE_POOL(f32)
AVERAGE_POOL(bf16)
