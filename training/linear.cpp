// A linear layer with a LoRA adapter, forward and backward, by a processor's matrix unit (Intel's AMX) in bf16.
//
// Owns the arithmetic. Knows nothing of Python, layers or models: `kernel.py` hands over addresses and sizes. A general
// library takes 60 to 120 microseconds to begin a product, however small, and an adapter's are small; and it reached a
// fifth of the unit's speed in the layer's own. Sums are in fp32, the adapter's among them, and rounded once; an adapter's
// weights, and what is rank numbers wide, are rounded to bf16 as they are multiplied. Each number is summed by one thread
// in one order, so a result does not depend on how many threads there are. Where there is no such unit this file compiles
// to a function that says so.

#include <cstdint>

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "vectors.h"

namespace {

constexpr int64_t SHARED = 1 << 22;   // multiplications below which waking other threads costs more than it saves

// A matrix unit's tile holds sixteen rows of 64 bytes. A product takes rows of 32 numbers in bf16 from the left, and
// from the right "pairs": two numbers that follow each other along what is summed, side by side (Intel's VNNI form).
constexpr int ROWS = 16, DEEP = 32, BLOCK = 32;

// GCC does not see that tiles and their shapes are loaded from memory: what was written before has to be there.
inline void written() { asm volatile("" ::: "memory"); }

struct alignas(64) Shapes { uint8_t palette, start, unused[14]; uint16_t bytes[16]; uint8_t rows[16]; };

struct Tiles {
    Tiles() {
        Shapes shapes = {};
        shapes.palette = 1;
        for (int i = 0; i < 8; i++) shapes.bytes[i] = 64, shapes.rows[i] = ROWS;
        written();
        _tile_loadconfig(&shapes);
    }
    ~Tiles() { _tile_release(); }
};

inline int64_t whole(int64_t rows) { return (rows + BLOCK - 1) / BLOCK * BLOCK; }

struct alignas(64) Square { float values[ROWS * ROWS]; };

struct Pair { Brain first, second; };  // of a right side [deep, columns]: laid out as [columns / 16, deep / 2, 16]

inline __m256i narrow(__m512 values) { return (__m256i)_mm512_cvtneps_pbh(values); }
inline void side_by_side(__m256i first, __m256i second, Pair* to) {
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16);
    _mm512_storeu_si512(to, _mm512_or_si512(_mm512_cvtepu16_epi32(first), high));
}

// The pairs of `matrix` [there, columns], whose rows follow each other along what is summed; zeros from there to `deep`. By
// all threads.
void pairs_of_rows(const float* matrix, int64_t there, int64_t deep, int64_t columns, Pair* to) {
#pragma omp for collapse(2) schedule(static)
    for (int64_t n = 0; n < columns; n += ROWS)
        for (int64_t k = 0; k < deep; k += 2) {
            const auto row = [&](int64_t at) {
                return at < there ? narrow(_mm512_loadu_ps(matrix + at * columns + n)) : _mm256_setzero_si256();
            };
            side_by_side(row(k), row(k + 1), to + n * deep / 2 + k / 2 * ROWS);
        }
}

// The pairs of `matrix` [columns, there], whose columns do; zeros from there to `deep`. By all threads.
void pairs_of_columns(const float* matrix, int64_t there, int64_t deep, int64_t columns, Pair* to) {
    const __m512i counted = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i rows = _mm512_mullo_epi32(counted, _mm512_set1_epi32(there));
#pragma omp for collapse(2) schedule(static)
    for (int64_t n = 0; n < columns; n += ROWS)
        for (int64_t k = 0; k < deep; k += 2) {
            const auto column = [&](int64_t at) {
                if (at >= there) return _mm256_setzero_si256();
                return narrow(_mm512_i32gather_ps(rows, matrix + n * there + at, 4));
            };
            side_by_side(column(k), column(k + 1), to + n * deep / 2 + k / 2 * ROWS);
        }
}

// The pairs of a frozen `weight` [columns, deep], whose columns follow each other along what is summed: squares of sixteen
// pairs are turned. By all threads.
void pairs_of_columns(const Brain* weight, int64_t deep, int64_t columns, Pair* to) {
#pragma omp for collapse(2) schedule(static)
    for (int64_t n = 0; n < columns; n += ROWS)
        for (int64_t k = 0; k < deep; k += DEEP) {
            __m512i r[ROWS], t[ROWS];
            for (int i = 0; i < ROWS; i++) r[i] = _mm512_loadu_si512(weight + (n + i) * deep + k);
            for (int i = 0; i < ROWS; i += 2) {
                t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
                t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
            }
            for (int i = 0; i < ROWS; i += 4)
                for (int j = 0; j < 2; j++) {
                    r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
                    r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
                }
            Pair* square = to + n * deep / 2 + k / 2 * ROWS;
            for (int j = 0; j < 4; j++) {
                const __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
                const __m512i b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
                const __m512i c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
                const __m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
                _mm512_storeu_si512(square + j * ROWS, _mm512_shuffle_i32x4(a, c, 0x88));
                _mm512_storeu_si512(square + (4 + j) * ROWS, _mm512_shuffle_i32x4(b, d, 0x88));
                _mm512_storeu_si512(square + (8 + j) * ROWS, _mm512_shuffle_i32x4(a, c, 0xdd));
                _mm512_storeu_si512(square + (12 + j) * ROWS, _mm512_shuffle_i32x4(b, d, 0xdd));
            }
        }
}

// The pairs of a frozen `weight` [deep, columns], whose rows do. By all threads.
void pairs_of_rows(const Brain* weight, int64_t deep, int64_t columns, Pair* to) {
#pragma omp for collapse(2) schedule(static)
    for (int64_t n = 0; n < columns; n += ROWS)
        for (int64_t k = 0; k < deep; k += 2) {
            const Brain* from = weight + k * columns + n;
            side_by_side(_mm256_loadu_si256((const __m256i*)from), _mm256_loadu_si256((const __m256i*)(from + columns)),
                         to + n * deep / 2 + k / 2 * ROWS);
        }
}

// left [16, deep] @ right [deep, 16], in four sums: a product waits for the one before it in the same tile.
inline void product(const Brain* left, int64_t stride, const Pair* right, int64_t deep, Square& to) {
    Square part[4];
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    written();
    int64_t k = 0;
#define ONE(sum)                                          \
    if (k + DEEP <= deep) {                               \
        _tile_loadd(4, left + k, stride * sizeof(Brain)); \
        _tile_loadd(5, right + k / 2 * ROWS, 64);         \
        _tile_dpbf16ps(sum, 4, 5);                        \
        k += DEEP;                                        \
    }
    while (k + DEEP <= deep) {
        ONE(0) ONE(1) ONE(2) ONE(3)
    }
#undef ONE
    _tile_stored(0, part[0].values, 64);
    _tile_stored(1, part[1].values, 64);
    _tile_stored(2, part[2].values, 64);
    _tile_stored(3, part[3].values, 64);
    for (int i = 0; i < ROWS * ROWS; i += LANES) {
        const Floats one = load(part[0].values + i) + load(part[1].values + i);
        store(one + (load(part[2].values + i) + load(part[3].values + i)), to.values + i);
    }
}

// small [rows to a whole block, rank to a whole block] = scale * x [rows, deep] @ right; `last` are the rows after the last
// whole block, and zeros. By all threads.
void shrink(const Brain* x, const Brain* last, int64_t rows, int64_t deep, const Pair* right, int64_t rank, float scale,
            Brain* small) {
#pragma omp for schedule(static)
    for (int64_t at = 0; at < whole(rows); at += ROWS) {
        const int64_t begun = rows / BLOCK * BLOCK;
        const Brain* left = at < begun ? x + at * deep : last + (at - begun) * deep;
        for (int64_t r = 0; r < rank; r += ROWS) {
            Square sums;
            product(left, deep, right + r * deep / 2, deep, sums);
            for (int row = 0; row < ROWS; row++)
                store(load(sums.values + row * ROWS) * scale, small + (at + row) * whole(rank) + r);
        }
        for (int row = 0; row < ROWS && rank < whole(rank); row++)
            store(Floats{}, small + (at + row) * whole(rank) + rank);
    }
}

struct Sides {                        // of y [rows, width] = x [rows, deep] @ right + small [.., rank] @ more + bias
    int64_t rows, deep, width, rank;
    const Brain *x, *last;            // `last`: the rows after the last whole block, and zeros
    const Pair* right;
    const Brain* small;
    const Pair* more;
    const Brain* bias;                // or none
    Brain* y;
};

// Adds left [32, deep] @ right [deep, 32] to tiles 0 to 3: each tile that is loaded serves two products.
inline void add_product(const Brain* left, const Pair* right, int64_t deep) {
    for (int64_t k = 0; k < deep; k += DEEP) {
        _tile_loadd(4, left + k, deep * sizeof(Brain));
        _tile_loadd(6, right + k / 2 * ROWS, 64);
        _tile_loadd(7, right + (deep + k) / 2 * ROWS, 64);
        _tile_loadd(5, left + ROWS * deep + k, deep * sizeof(Brain));
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

// A block of 32 rows from `t` and 32 columns from `n`.
void block(const Sides& s, int64_t t, int64_t n) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    add_product(t + BLOCK <= s.rows ? s.x + t * s.deep : s.last, s.right + n * s.deep / 2, s.deep);
    add_product(s.small + t * s.rank, s.more + n * s.rank / 2, s.rank);
    alignas(64) float sums[BLOCK][BLOCK];
    _tile_stored(0, &sums[0][0], sizeof(sums[0]));
    _tile_stored(1, &sums[0][ROWS], sizeof(sums[0]));
    _tile_stored(2, &sums[ROWS][0], sizeof(sums[0]));
    _tile_stored(3, &sums[ROWS][ROWS], sizeof(sums[0]));
    const int64_t left_over = s.rows - t < BLOCK ? s.rows - t : BLOCK;
    for (int64_t row = 0; row < left_over; row++)
        for (int64_t i = 0; i < BLOCK; i += LANES) {
            const Floats values = load(&sums[row][i]);
            store(s.bias ? values + load(s.bias + n + i) : values, s.y + (t + row) * s.width + n + i);
        }
}

// All blocks, by all threads: a strip of the right side stays in the nearest cache for as many rows as the next one holds,
// and what is written lies close together.
void multiply(const Sides& s) {
    constexpr int64_t HELD = 8 * BLOCK;
    written();
#pragma omp for collapse(2) schedule(static)
    for (int64_t rows = 0; rows < s.rows; rows += HELD)
        for (int64_t n = 0; n < s.width; n += BLOCK)
            for (int64_t t = rows; t < s.rows && t < rows + HELD; t += BLOCK) block(s, t, n);
}

// `small` [deep, rank to a whole block] as `turned` [rank, deep]. By all threads.
void turn(const Brain* small, int64_t rank, int64_t deep, Brain* turned) {
#pragma omp for schedule(static)
    for (int64_t at = 0; at < deep; at += ROWS)
        for (int64_t r = 0; r < rank; r++)
            for (int64_t row = at; row < at + ROWS; row++) turned[r * deep + row] = small[row * whole(rank) + r];
}

// turned [rank, deep] @ wide [rows, width], where what is summed are the rows, as [rank, width], or `across`, as
// [width, rank]. By all threads.
void outer(const Brain* turned, int64_t rank, int64_t deep, const Brain* wide, int64_t rows, int64_t width, bool across,
           float* of) {
    static thread_local std::vector<Pair> right;
    right.resize(deep / 2 * ROWS);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < width; n += ROWS) {
        const auto row = [&](int64_t at) {
            const __m256i* from = reinterpret_cast<const __m256i*>(wide + at * width + n);
            return at < rows ? _mm256_loadu_si256(from) : _mm256_setzero_si256();
        };
        for (int64_t t = 0; t < deep; t += 2) side_by_side(row(t), row(t + 1), &right[t / 2 * ROWS]);
        for (int64_t r = 0; r < rank; r += ROWS) {
            Square sums;
            product(turned + r * deep, deep, right.data(), deep, sums);
            for (int64_t i = 0; i < ROWS; i++) {
                if (!across) store(load(sums.values + i * ROWS), of + (r + i) * width + n);
                else for (int64_t j = 0; j < ROWS; j++) of[(n + j) * rank + r + i] = sums.values[i * ROWS + j];
            }
        }
    }
}

// The rows after the last whole block, and rows of zeros that make it whole.
std::vector<Brain> last_rows(const Brain* x, int64_t rows, int64_t deep) {
    const int64_t begun = rows / BLOCK * BLOCK;
    std::vector<Brain> last(begun < rows ? BLOCK * deep : 0, Brain{0});
    if (begun < rows) memcpy(last.data(), x + begun * deep, (rows - begun) * deep * sizeof(Brain));
    return last;
}

// Memory that stays for the next layer: fresh memory for each would cost as much as what is written to it.
struct Scratch {
    std::vector<Pair> kept[3];
    Pair* pairs(int which, int64_t numbers) {
        if (int64_t(kept[which].size()) < numbers / 2) kept[which].resize(numbers / 2);
        return kept[which].data();
    }
};

}  // namespace

extern "C" {

// Whether this process may use the matrix unit.
int tailorbird_tiles() {
    constexpr long ask = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, ask, tile_data) == 0;
}

// y [rows, outs] = x [rows, in] @ weight^T + bias + scale * x @ a^T @ b^T, where `weight` is [outs, in], a [rank, in] and
// b [outs, rank]; `small` keeps scale * x @ a^T, rows and rank rounded up to 32. `in` and `outs` are multiples of
// 32, the rank of 16.
void tailorbird_linear(int64_t rows, int64_t in, int64_t outs, int64_t rank, const Brain* x, const Brain* weight,
                       const Brain* bias, const float* a, const float* b, float scale, Brain* small, Brain* y) {
    static thread_local Scratch scratch;
    Pair *right = scratch.pairs(0, in * outs), *down = scratch.pairs(1, in * rank);
    Pair* up = scratch.pairs(2, whole(rank) * outs);
    const std::vector<Brain> last = last_rows(x, rows, in);
    const Sides sides = {rows, in, outs, whole(rank), x, last.data(), right, small, up, bias, y};
#pragma omp parallel if (rows * in * outs > SHARED)
    {
        Tiles configured;
        pairs_of_columns(weight, in, outs, right);
        pairs_of_columns(a, in, in, rank, down);
        pairs_of_columns(b, rank, whole(rank), outs, up);
        shrink(x, last.data(), rows, in, down, rank, scale, small);
        multiply(sides);
    }
}

// From the gradient of y: `of_x` (none where nobody asks), `of_a` and `of_b`.
void tailorbird_linear_backward(int64_t rows, int64_t in, int64_t outs, int64_t rank, const Brain* gradient,
                                const Brain* x, const Brain* weight, const float* a, const float* b, float scale,
                                const Brain* small, Brain* of_x, float* of_a, float* of_b) {
    static thread_local Scratch scratch;
    Pair *right = scratch.pairs(0, of_x ? in * outs : 0), *up = scratch.pairs(1, outs * rank);
    Pair* down = scratch.pairs(2, whole(rank) * in);
    const int64_t deep = whole(rows);
    std::vector<Brain> back(deep * whole(rank)), turned(rank * deep), turned_back(rank * deep);
    const std::vector<Brain> last = last_rows(gradient, rows, outs);
    const Sides sides = {rows, outs, in, whole(rank), gradient, last.data(), right, back.data(), down, nullptr, of_x};
#pragma omp parallel if (rows * in * outs > SHARED)
    {
        Tiles configured;
        if (of_x) pairs_of_rows(weight, outs, in, right);
        pairs_of_rows(b, outs, outs, rank, up);
        pairs_of_rows(a, rank, whole(rank), in, down);
        shrink(gradient, last.data(), rows, outs, up, rank, scale, back.data());
        turn(back.data(), rank, deep, turned_back.data());
        turn(small, rank, deep, turned.data());
        if (of_x) multiply(sides);
        outer(turned_back.data(), rank, deep, x, rows, in, false, of_a);
        outer(turned.data(), rank, deep, gradient, rows, outs, true, of_b);
    }
}

}  // extern "C"
#else
extern "C" int tailorbird_tiles() { return 0; }
#endif
