// Weights of convolutions from PyTorch's layout [outputs, inputs, taps] to rows [outputs, taps, inputs], and back.

#define WEIGHTS(TYPE)                                                                                           \
  /* Rows of `wide` numbers, with zeros where they are longer than those of the weight. */                      \
  KERNEL turned_##TYPE(count outputs, count inputs, count taps, count wide, const float *weight, TYPE *rows) {  \
    count at = THREAD;                                                                                          \
    if (at >= outputs * wide) return;                                                                           \
    count output = at / wide, place = at % wide, tap = place / inputs, input = place % inputs;                  \
    store_##TYPE(rows, at, tap < taps ? weight[(output * inputs + input) * taps + tap] : 0.f);                  \
  }                                                                                                             \
                                                                                                                \
  KERNEL unturned_##TYPE(count outputs, count inputs, count taps, count wide, const TYPE *rows, float *weight) { \
    count at = THREAD;                                                                                          \
    if (at >= outputs * inputs * taps) return;                                                                  \
    count tap = at % taps, input = at / taps % inputs, output = at / taps / inputs;                             \
    weight[at] = load_##TYPE(rows, output * wide + tap * inputs + input);                                       \
  }

WEIGHTS(f32)
WEIGHTS(bf16)
