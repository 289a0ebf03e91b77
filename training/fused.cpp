// What lies between the matrices of a training step on a processor, in bf16: norms, gates, softmax, rows and their tree.
//
// Owns the arithmetic. Knows nothing of Python, layers or models: `kernel.py` hands over addresses and sizes. Sums are in
// fp32, and rounded where torch's own operations round. Each row is summed by one thread in one order, so a result does
// not depend on how many threads there are. Widths of norms, gates and heads are multiples of sixteen.

#include <cmath>
#include <vector>

#include "vectors.h"

namespace {

constexpr int64_t SHARED = 1 << 17;   // numbers below which waking other threads costs more than it saves

// step(0) to step(count - 1), by all threads if it is worth it; `numbers` are all that the steps read.
template <class Step>
inline void each(int64_t count, int64_t numbers, Step step) {
#pragma omp parallel for schedule(static) if (numbers > SHARED)
    for (int64_t i = 0; i < count; i++) step(i);
}

inline float sum(Floats values) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += values[i];
    return total;
}

inline float most(Floats values) {
    float highest = values[0];
    for (int i = 1; i < LANES; i++) highest = values[i] > highest ? values[i] : highest;
    return highest;
}

inline Floats all(float value) { return Floats{} + value; }
inline Floats rounded(Floats values) {
    Brain row[LANES];
    store(values, row);
    return load(row);
}

// e to the power of each, at most 2 units in the last place of fp32 off: 2^n times a polynomial on half an octave to
// either side (Cephes' coefficients). Below -87.3 it is 0.
inline Floats exponential(Floats x) {
    const Floats least = all(-87.3f), highest = all(88.0f);
    const auto low = x < least;
    x = low ? least : x;
    x = x > highest ? highest : x;
    const Floats scaled = x * 1.44269504f, magic = all(12582912.0f);  // adding it rounds to a whole number
    const Floats n = (scaled + magic) - magic;
    const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    typedef int32_t Whole __attribute__((vector_size(64)));
    const Whole power = (__builtin_convertvector(n, Whole) + 127) << 23;
    return low ? all(0) : p * (Floats)power;
}

// The first `count` of sixteen numbers, the others `instead`.
inline Floats some(const Brain* from, int64_t count, float instead) {
    if (count >= LANES) return load(from);
    Floats values = all(instead);
    for (int64_t i = 0; i < count; i++) values[i] = wide(from[i]);
    return values;
}
inline void store_some(Floats values, int64_t count, Brain* to) {
    if (count >= LANES) return store(values, to);
    Brain row[LANES];
    store(values, row);
    memcpy(to, row, count * sizeof(Brain));
}

}  // namespace

extern "C" {

// ------------------------------------------------------------------------------------------------------------- norm

// y = x / rms(x) * weight for each of `tokens` rows; `by` keeps 1 / rms.
void tailorbird_norm(int64_t tokens, int64_t width, const Brain* x, const Brain* weight, float eps, Brain* y,
                     float* by) {
    each(tokens, tokens * width, [&](int64_t t) {
        const Brain* row = x + t * width;
        Floats squares = all(0);
        for (int64_t i = 0; i < width; i += LANES) squares += load(row + i) * load(row + i);
        by[t] = 1 / std::sqrt(sum(squares) / width + eps);
        for (int64_t i = 0; i < width; i += LANES)
            store(rounded(load(row + i) * by[t]) * load(weight + i), y + t * width + i);
    });
}

void tailorbird_norm_backward(int64_t tokens, int64_t width, const Brain* gradient, const Brain* x, const Brain* weight,
                   const float* by, Brain* of_x) {
    each(tokens, tokens * width, [&](int64_t t) {
        const Brain *row = x + t * width, *slope = gradient + t * width;
        Floats along = all(0);
        for (int64_t i = 0; i < width; i += LANES)
            along += rounded(load(slope + i) * load(weight + i)) * (load(row + i) * by[t]);
        const float mean = sum(along) / width;
        for (int64_t i = 0; i < width; i += LANES) {
            const Floats even = load(row + i) * by[t];
            store((rounded(load(slope + i) * load(weight + i)) - even * mean) * by[t], of_x + t * width + i);
        }
    });
}

// ------------------------------------------------------------------------------------------------------------- gate

// y = silu(gate) * up, number by number.
void tailorbird_gated(int64_t count, const Brain* gate, const Brain* up, Brain* y) {
    each((count + 1023) / 1024, count, [&](int64_t block) {
        for (int64_t i = block * 1024; i < count && i < (block + 1) * 1024; i += LANES) {
            const Floats g = load(gate + i);
            store(rounded(g / (1.0f + exponential(-g))) * load(up + i), y + i);
        }
    });
}

void tailorbird_gated_backward(int64_t count, const Brain* gradient, const Brain* gate, const Brain* up, Brain* of_gate,
                    Brain* of_up) {
    each((count + 1023) / 1024, count, [&](int64_t block) {
        for (int64_t i = block * 1024; i < count && i < (block + 1) * 1024; i += LANES) {
            const Floats slope = load(gradient + i), g = load(gate + i), open = 1.0f / (1.0f + exponential(-g));
            store(slope * rounded(g * open), of_up + i);
            store(rounded(slope * load(up + i)) * (open * (1.0f + g * (1.0f - open))), of_gate + i);
        }
    });
}

// --------------------------------------------------------------------------------------------- rows and their tree

// to [batch, heads, length, width] = from [nodes, heads, width]: each row's positions, whose nodes are `rows`
// [batch, length].
void tailorbird_spread(int64_t batch, int64_t heads, int64_t length, int64_t width, const int64_t* rows,
                       const Brain* from, Brain* to) {
    each(batch * heads, batch * heads * length * width, [&](int64_t at) {
        const int64_t *nodes = rows + at / heads * length, head = at % heads;
        for (int64_t i = 0; i < length; i++)
            memcpy(to + (at * length + i) * width, from + (nodes[i] * heads + head) * width, width * sizeof(Brain));
    });
}

// to [nodes, heads, width]: of each node the sum over the positions that are it, in their order, in fp32.
void tailorbird_gather(int64_t batch, int64_t heads, int64_t length, int64_t width, int64_t count, const int64_t* rows,
                       const Brain* from, Brain* to) {
    each(heads, batch * heads * length * width, [&](int64_t head) {
        static thread_local std::vector<float> sums;
        sums.assign(count * width, 0);
        for (int64_t b = 0; b < batch; b++)
            for (int64_t i = 0; i < length; i++) {
                float* sum = &sums[rows[b * length + i] * width];
                const Brain* values = from + ((b * heads + head) * length + i) * width;
                for (int64_t j = 0; j < width; j += LANES) store(load(sum + j) + load(values + j), sum + j);
            }
        for (int64_t node = 0; node < count; node++)
            for (int64_t j = 0; j < width; j += LANES)
                store(load(&sums[node * width + j]), to + (node * heads + head) * width + j);
    });
}

// Between [batch, heads, length, width] and [nodes, heads, width], where each node is at `first` [nodes] of the positions;
// `back` the other way, into zeros.
void tailorbird_pick(int64_t count, int64_t heads, int64_t length, int64_t width, const int64_t* first, int64_t back,
                     Brain* rows, Brain* nodes) {
    each(count, count * heads * width, [&](int64_t node) {
        const int64_t b = first[node] / length, i = first[node] % length;
        for (int64_t head = 0; head < heads; head++) {
            Brain *row = rows + ((b * heads + head) * length + i) * width, *one = nodes + (node * heads + head) * width;
            memcpy(back ? row : one, back ? one : row, width * sizeof(Brain));
        }
    });
}

// ---------------------------------------------------------------------------------------------------------- softmax

// Scores [blocks, length, length] to probabilities, in place: row i of a block sees columns 0 to i.
void tailorbird_causal_softmax(int64_t blocks, int64_t length, float scaling, Brain* scores) {
    each(blocks * length, blocks * length * length, [&](int64_t at) {
        Brain* row = scores + at * length;
        const int64_t seen = at % length + 1;
        Floats highest = all(-INFINITY), total = all(0);
        for (int64_t i = 0; i < seen; i += LANES) {
            const Floats values = some(row + i, seen - i, -INFINITY);
            highest = values > highest ? values : highest;
        }
        const float top = most(highest);
        static thread_local std::vector<float> kept;
        kept.resize(length + LANES);
        for (int64_t i = 0; i < seen; i += LANES) {
            const Floats value = exponential((some(row + i, seen - i, -INFINITY) - top) * scaling);
            store(value, &kept[i]);
            total += value;
        }
        const float by = 1 / sum(total);
        for (int64_t i = 0; i < seen; i += LANES) store_some(load(&kept[i]) * by, seen - i, row + i);
        memset(row + seen, 0, (length - seen) * sizeof(Brain));
    });
}

// The gradient of probabilities to that of scores, in place.
void tailorbird_causal_softmax_backward(int64_t blocks, int64_t length, float scaling, const Brain* likely,
                                        Brain* gradient) {
    each(blocks * length, blocks * length * length, [&](int64_t at) {
        const Brain* p = likely + at * length;
        Brain* row = gradient + at * length;
        const int64_t seen = at % length + 1;
        Floats along = all(0);
        for (int64_t i = 0; i < seen; i += LANES) along += some(p + i, seen - i, 0) * some(row + i, seen - i, 0);
        const float mean = sum(along);
        for (int64_t i = 0; i < seen; i += LANES)
            store_some(some(p + i, seen - i, 0) * (some(row + i, seen - i, 0) - mean) * scaling, seen - i, row + i);
        memset(row + seen, 0, (length - seen) * sizeof(Brain));
    });
}

// Scores [tokens, words] to e to the power of each less the highest, in place. Of each token: `told`, its target's
// score less the highest; `whole`, the sum of the powers.
void tailorbird_word_powers(int64_t tokens, int64_t words, const int64_t* targets, Brain* scores, float* told,
                           float* whole) {
    each(tokens, tokens * words, [&](int64_t t) {
        Brain* row = scores + t * words;
        Floats highest = all(-INFINITY), total = all(0);
        for (int64_t i = 0; i < words; i += LANES) {
            const Floats values = some(row + i, words - i, -INFINITY);
            highest = values > highest ? values : highest;
        }
        const float top = most(highest);
        told[t] = wide(row[targets[t]]) - top;
        for (int64_t i = 0; i < words; i += LANES) {
            const Floats value = exponential(some(row + i, words - i, -INFINITY) - top);
            store_some(value, words - i, row + i);
            total += value;
        }
        whole[t] = sum(total);
    });
}

}  // extern "C"
