// Numbers in memory as vectors of sixteen floats, for the C++ that is compiled where it runs.
//
// The vectors are GCC's and Clang's own extension, so the same lines serve AVX-512, AVX2 and ARM. Owns how a number is
// read, rounded and written. Knows no operation.

#pragma once

#include <cstdint>
#include <cstring>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;

typedef float Floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t Words __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t Halves __attribute__((vector_size(32), aligned(2), may_alias));

struct Brain { uint16_t bits; };      // bfloat16: the upper half of a float

inline float wide(float number) { return number; }
inline float wide(Brain number) {
    const uint32_t bits = uint32_t(number.bits) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

inline Floats load(const float* from) { return *reinterpret_cast<const Floats*>(from); }
inline Floats load(const Brain* from) {
    return (Floats)(__builtin_convertvector(*reinterpret_cast<const Halves*>(from), Words) << 16);  // bits, not values
}

inline void store(Floats values, float* to) { *reinterpret_cast<Floats*>(to) = values; }
inline void store(Floats values, Brain* to) {  // to the nearest, halves to even; no number stays none
#ifdef __AVX512BF16__
    const __m256bh nearest = _mm512_cvtneps_pbh((__m512)values);
    memcpy(to, &nearest, 32);
#else
    const Words bits = (Words)values, none = (Words)(values != values);
    const Words nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    *reinterpret_cast<Halves*>(to) = __builtin_convertvector((nearest & ~none) | (none & 0x7fc0), Halves);
#endif
}

#ifdef __FLT16_MAX__                  // IEEE's 16 bits, where the compiler has them
inline float wide(_Float16 number) { return float(number); }
inline Floats load(const _Float16* from) {
    Floats values;
    for (int i = 0; i < LANES; i++) values[i] = float(from[i]);
    return values;
}
inline void store(Floats values, _Float16* to) {
    for (int i = 0; i < LANES; i++) to[i] = _Float16(values[i]);
}
#endif

template <class T> inline void store_one(float value, T* to) {
    T row[LANES];
    store(Floats{value}, row);
    *to = row[0];
}

}  // namespace
