// The patches of images with few channels, unfolded into the rows of a matrix.

// What is written at once.
typedef struct { unsigned words[4]; } __attribute__((aligned(16))) sixteen;

INLINE void pack_bf16(bf16 *patches, count at, const bf16 *numbers) {
  sixteen whole;
  UNROLL for (int i = 0; i < 4; i++) whole.words[i] = numbers[2 * i] | (unsigned)numbers[2 * i + 1] << 16;
  ((sixteen *)patches)[at] = whole;
}

INLINE void pack_f32(f32 *patches, count at, const f32 *numbers) {
  union { f32 numbers[4]; sixteen whole; } low, high;
  UNROLL for (int i = 0; i < 4; i++) {
    low.numbers[i] = numbers[i];
    high.numbers[i] = numbers[i + 4];
  }
  ((sixteen *)patches)[2 * at] = low.whole;
  ((sixteen *)patches)[2 * at + 1] = high.whole;
}

#define PATCHES(TYPE)                                                                                           \
  /* A row of `wide` numbers for each place of the window: tap by tap its channels, then zeros. A thread has 8. */ \
  KERNEL patches_##TYPE(GEOMETRY, WINDOW, count wide, const TYPE *x, TYPE *patches) {                           \
    count at = THREAD, parts = wide / 8;                                                                        \
    if (at >= images * rows * columns * parts) return;                                                          \
    count place = at / parts, first = at % parts * 8;                                                           \
    count line = place / columns, image = line / rows;                                                          \
    int top = (int)(line % rows * stride_down) - (int)above;                                                    \
    int start = (int)(place % columns * stride_right) - (int)left;                                              \
    count tap = first / channels, channel = first % channels, down = tap / broad, right = tap % broad;          \
    TYPE numbers[8];                                                                                            \
    UNROLL for (int i = 0; i < 8; i++) {                                                                        \
      int row = top + (int)(down * gap_down), column = start + (int)(right * gap_right);                        \
      int inside = down < tall && row >= 0 && row < (int)height && column >= 0 && column < (int)width;          \
      numbers[i] = inside ? x[((image * height + (count)row) * width + (count)column) * channels + channel] : 0; \
      if (++channel < channels) continue;                                                                       \
      channel = 0;                                                                                              \
      if (++right < broad) continue;                                                                            \
      right = 0;                                                                                                \
      down++;                                                                                                   \
    }                                                                                                           \
    pack_##TYPE(patches, at, numbers);                                                                          \
  }

PATCHES(f32)
PATCHES(bf16)
