// What adapters add to a linear layer, on a processor: y[t] += scale * B[s] (A[s] x[t]), where s is the slot of token t.
//
// Owns the arithmetic. Knows nothing of Python or vLLM: `kernel.py` compiles it and hands over addresses and sizes.
//
// Tokens of one slot are taken together, so that a weight that was read serves several; tokens of the base model (a slot
// below 0) are in no group and are never written to. Whatever the weights are, sums are in fp32 and rounded once. The
// idea of one product over many adapters is Punica's (Chen et al., arXiv 2310.18547).

#include <cstdint>
#include <cstring>
#include <vector>

#include "vectors.h"

namespace {

constexpr int QUAD = 4;
constexpr int64_t FEW = 3;            // rows below which turning a tile of B costs more than it saves
constexpr int64_t SHARED = 1 << 18;   // multiplications below which waking other threads costs more than it saves

typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

// -------------------------------------------------------------------------------------------------------- sums

#ifdef __clang__
#define PICK(one, other, ...) __builtin_shufflevector(one, other, __VA_ARGS__)
#else
typedef int Places __attribute__((vector_size(16)));
#define PICK(one, other, ...) __builtin_shuffle(one, other, Places{__VA_ARGS__})
#endif

inline Four fold(Floats values) {     // sixteen to four, by halves
    Eight eight[2];
    memcpy(eight, &values, 64);
    eight[0] += eight[1];
    Four four[2];
    memcpy(four, eight, 32);
    return four[0] + four[1];
}

inline float sum(Floats values) {
    const Four four = fold(values);
    return (four[0] + four[2]) + (four[1] + four[3]);
}

inline Four sums(const Floats* of) {  // of four vectors at once
    const Four a = fold(of[0]), b = fold(of[1]), c = fold(of[2]), d = fold(of[3]);
    const Four ab = PICK(a, b, 0, 4, 1, 5) + PICK(a, b, 2, 6, 3, 7);
    const Four cd = PICK(c, d, 0, 4, 1, 5) + PICK(c, d, 2, 6, 3, 7);
    return PICK(ab, cd, 0, 1, 4, 5) + PICK(ab, cd, 2, 3, 6, 7);
}

// -------------------------------------------------------------------------------------- hidden = A x, y += B hidden

// Four ranks of ROWS rows, or fewer ranks one by one. `a` is [.., in], `x` [ROWS, in], `hidden` [ROWS, rank].
template <int ROWS, class T>
void shrink(const T* a, const float* x, int64_t in, int64_t rank, int64_t ranks, float* hidden) {
    Floats total[ROWS][QUAD] = {};
    int64_t whole = 0;
    if (ranks == QUAD)
        for (; whole + LANES <= in; whole += LANES) {
            Floats weights[QUAD];
            for (int r = 0; r < QUAD; r++) weights[r] = load(a + r * in + whole);
            for (int row = 0; row < ROWS; row++) {
                const Floats values = load(x + row * in + whole);
                for (int r = 0; r < QUAD; r++) total[row][r] += weights[r] * values;
            }
        }
    for (int row = 0; row < ROWS; row++)
        for (int64_t r = 0; r < ranks; r++) {
            float value = sum(total[row][r]);
            for (int64_t i = whole; i < in; i++) value += wide(a[r * in + i]) * x[row * in + i];
            hidden[row * rank + r] = value;
        }
}

// One row and sixteen outputs. `b` is [16, rank].
template <class T>
void expand(const T* b, const float* hidden, int64_t rank, float scale, T* y) {
    const int64_t whole = rank / LANES * LANES;
    float delta[LANES];
    for (int o = 0; o < LANES; o += QUAD) {
        Floats total[QUAD] = {};
        for (int64_t r = 0; r < whole; r += LANES)
            for (int i = 0; i < QUAD; i++) total[i] += load(b + (o + i) * rank + r) * load(hidden + r);
        const Four four = sums(total);
        for (int i = 0; i < QUAD; i++) {
            delta[o + i] = four[i];
            for (int64_t r = whole; r < rank; r++) delta[o + i] += wide(b[(o + i) * rank + r]) * hidden[r];
        }
    }
    store(load(y) + scale * load(delta), y);
}

// ROWS rows and sixteen outputs, over a tile of B that was turned to [rank, 16].
template <int ROWS, class T>
void expand_turned(const float* turned, const float* hidden, int64_t rank, float scale, T* const* y, int64_t at) {
    Floats total[ROWS] = {};
    for (int64_t r = 0; r < rank; r++) {
        const Floats weights = load(turned + r * LANES);
        for (int row = 0; row < ROWS; row++) total[row] += hidden[row * rank + r] * weights;
    }
    for (int row = 0; row < ROWS; row++) store(load(y[row] + at) + scale * total[row], y[row] + at);
}

// ---------------------------------------------------------------------------------------------------- a layer's step

struct Layer {                        // as `kernel.py` lays it out
    int64_t kind, slices, in, rank;
    const void* const* a;             // of each slice, [slots, rank, in]
    const void* const* b;             // of each slice, [slots, outs, rank]
    const int64_t* outs;              // rows of each B
    const int64_t* widths;            // columns of y that belong to each slice
};

constexpr int64_t MOST = 512;         // vLLM's largest rank

// step(0) to step(count - 1), by all threads if it is worth it.
template <class Step>
inline void each(int64_t count, int64_t multiplications, Step step) {
    if (multiplications <= SHARED) {
        for (int64_t i = 0; i < count; i++) step(i);
        return;
    }
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++) step(i);
}

template <class T>
struct Group {                        // the tokens of one slot
    std::vector<T*> y;
    std::vector<float> x, hidden;     // [rows, in]; [slices, rows, rank]
};

template <class T>
void shrink(const Layer& layer, int64_t slot, Group<T>& group) {
    const int64_t rows = group.y.size(), in = layer.in, rank = layer.rank, blocks = (rows + QUAD - 1) / QUAD;
    each(layer.slices * blocks, rows * layer.slices * rank * in, [&](int64_t block) {
        const int64_t slice = block / blocks, first = block % blocks * QUAD;
        const T* a = static_cast<const T*>(layer.a[slice]) + slot * rank * in;
        const float* x = &group.x[first * in];
        float* hidden = &group.hidden[(slice * rows + first) * rank];
        for (int64_t r = 0; r < rank; r += QUAD) {
            const int64_t ranks = rank - r < QUAD ? rank - r : QUAD;
            if (rows - first >= QUAD)
                shrink<QUAD>(a + r * in, x, in, rank, ranks, hidden + r);
            else
                for (int64_t row = 0; row < rows - first; row++)
                    shrink<1>(a + r * in, x + row * in, in, rank, ranks, hidden + row * rank + r);
        }
    });
}

// Outputs `at` to `at` + 16 of one slice, or those that are left of it; `y` begins at the slice.
template <class T>
void expand_tile(const T* b, int64_t at, int64_t left, const float* hidden, int64_t rank, float scale,
                 const std::vector<T*>& y) {
    const int64_t rows = y.size();
    if (left < LANES) {
        for (int64_t row = 0; row < rows; row++)
            for (int64_t o = 0; o < left; o++) {
                float delta = 0;
                for (int64_t r = 0; r < rank; r++) delta += wide(b[o * rank + r]) * hidden[row * rank + r];
                store_one(wide(y[row][at + o]) + scale * delta, y[row] + at + o);
            }
        return;
    }
    if (rows < FEW) {
        for (int64_t row = 0; row < rows; row++) expand(b, hidden + row * rank, rank, scale, y[row] + at);
        return;
    }
    float turned[MOST * LANES];
    for (int64_t o = 0; o < LANES; o++)
        for (int64_t r = 0; r < rank; r++) turned[r * LANES + o] = wide(b[o * rank + r]);
    int64_t row = 0;
    for (; row + QUAD <= rows; row += QUAD)
        expand_turned<QUAD>(turned, hidden + row * rank, rank, scale, &y[row], at);
    for (; row < rows; row++) expand_turned<1>(turned, hidden + row * rank, rank, scale, &y[row], at);
}

template <class T>
void expand(const Layer& layer, int64_t slot, float scale, Group<T>& group) {
    const int64_t rows = group.y.size(), rank = layer.rank;
    for (int64_t slice = 0; slice < layer.slices; slice++) {
        const int64_t width = layer.widths[slice] < layer.outs[slice] ? layer.widths[slice] : layer.outs[slice];
        const T* b = static_cast<const T*>(layer.b[slice]) + slot * layer.outs[slice] * rank;
        const float* hidden = &group.hidden[slice * rows * rank];
        each((width + LANES - 1) / LANES, rows * width * rank, [&](int64_t tile) {
            const int64_t at = tile * LANES;
            expand_tile(b + at * rank, at, width - at, hidden, rank, scale, group.y);
        });
        for (T*& row : group.y) row += layer.widths[slice];
    }
}

template <class T>
void add(const Layer& layer, T* y, int64_t y_stride, const T* x, int64_t x_stride, const int64_t* slots, int64_t tokens,
         float scale) {
    static thread_local Group<T> group;  // kept: fresh memory for each layer would cost as much as the products
    std::vector<char> done(tokens, 0);
    for (int64_t first = 0; first < tokens; first++) {
        if (slots[first] < 0 || done[first]) continue;
        group.y.clear();
        if (group.x.size() < size_t(tokens * layer.in)) group.x.resize(tokens * layer.in);
        for (int64_t token = first; token < tokens; token++) {
            if (slots[token] != slots[first]) continue;
            done[token] = 1;
            float* row = &group.x[group.y.size() * layer.in];
            for (int64_t i = 0; i < layer.in; i++) row[i] = wide(x[token * x_stride + i]);
            group.y.push_back(y + token * y_stride);
        }
        group.hidden.resize(layer.slices * group.y.size() * layer.rank);
        shrink(layer, slots[first], group);
        expand(layer, slots[first], scale, group);
    }
}

}  // namespace

// 0 when it was done, 1 when this kind of number is not known here. Strides are in numbers, not bytes.
extern "C" int tailorbird_add(const Layer* layer, void* y, int64_t y_stride, const void* x, int64_t x_stride,
                              const int64_t* slots, int64_t tokens, float scale) {
#define ADD(T) add(*layer, static_cast<T*>(y), y_stride, static_cast<const T*>(x), x_stride, slots, tokens, scale)
    if (layer->kind == 0) return ADD(float), 0;
    if (layer->kind == 1) return ADD(Brain), 0;
#ifdef __FLT16_MAX__
    if (layer->kind == 2) return ADD(_Float16), 0;
#endif
    return 1;
}
