// The largest number of each window, and the mean over all pixels.

#define POOLS(TYPE)                                                                                             \
  /* Of equals the first; what is not a number wins. `places` says which of the window it was. */               \
  KERNEL max_pool_##TYPE(GEOMETRY, count side, count stride, const TYPE *x, byte *places, TYPE *y) {            \
    count at = THREAD;                                                                                          \
    if (at >= images * rows * columns * channels) return;                                                       \
    count channel = at % channels, pixel = at / channels;                                                       \
    count column = pixel % columns, row = pixel / columns % rows, image = pixel / columns / rows;               \
    float largest = 0;                                                                                          \
    int place = -1;                                                                                             \
    for (count tap = 0; tap < side * side; tap++) {                                                             \
      int down = (int)(row * stride + tap / side) - (int)above;                                                 \
      int right = (int)(column * stride + tap % side) - (int)left;                                              \
      if (down < 0 || down >= (int)height || right < 0 || right >= (int)width) continue;                        \
      float value = load_##TYPE(x, ((image * height + (count)down) * width + (count)right) * channels + channel); \
      if (place >= 0 && !(value > largest) && value == value) continue;                                         \
      largest = value;                                                                                          \
      place = (int)tap;                                                                                         \
    }                                                                                                           \
    places[at] = (byte)place;                                                                                   \
    store_##TYPE(y, at, largest);                                                                               \
  }                                                                                                             \
                                                                                                                \
  /* Gathers for each pixel what the windows that took it were given. */                                        \
  KERNEL max_pool_back_##TYPE(GEOMETRY, count side, count stride, const TYPE *gradient, const byte *places,     \
                              TYPE *back) {                                                                     \
    count at = THREAD;                                                                                          \
    if (at >= images * height * width * channels) return;                                                       \
    count channel = at % channels, pixel = at / channels;                                                       \
    count column = pixel % width, row = pixel / width % height, image = pixel / width / height;                 \
    count below = row + above, beside = column + left;                                                          \
    float sum = 0;                                                                                              \
    for (count line = below < side ? 0 : (below - side) / stride + 1; line <= below / stride && line < rows; line++) \
      for (count spot = beside < side ? 0 : (beside - side) / stride + 1;                                       \
           spot <= beside / stride && spot < columns; spot++) {                                                 \
        count from = ((image * rows + line) * columns + spot) * channels + channel;                             \
        if (places[from] == (below - line * stride) * side + beside - spot * stride)                            \
          sum += load_##TYPE(gradient, from);                                                                   \
      }                                                                                                         \
    store_##TYPE(back, at, sum);                                                                                \
  }                                                                                                             \
                                                                                                                \
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

POOLS(f32)
POOLS(bf16)
