// Kernels of the operators for GPUs, in plain C, so that a C compiler can run them one thread after the other
// (emulation.rs) and their numbers are checked where there is no GPU.
//
// A KERNEL's threads know nothing of each other. The threads of a TOGETHER's block share memory: what stands in
// MEMBERS { } is done by each of them, and MEET lets all wait for all. Nothing but shared memory outlives MEMBERS.
//
// Arrays are [rows, channels]; sums over rows are added up in a fixed order: the same bytes each time. A thread adds up in
// f32, those of threads and of blocks are added up in f64, and kept in f32.

#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
#define TOGETHER extern "C" __global__ void __launch_bounds__(256)
#define INLINE static __device__ __forceinline__
#define THREAD (blockIdx.x * blockDim.x + threadIdx.x)
#define BLOCK blockIdx.x
#define MEMBER threadIdx.x
#define MEMBERS
#define MEET __syncthreads();
#define SHARED __shared__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

typedef float f32;
typedef unsigned short bf16;
typedef unsigned char byte;
typedef unsigned long address;
// The host launches nothing on more than 2^31 numbers: a division in 64 bits costs a kernel its speed.
typedef unsigned count;

#include "numbers.cuh"
#include "tiles.cuh"

#include "activations.cuh"
#include "batch_norm.cuh"
#include "depthwise.cuh"
#include "joined_norms.cuh"
#include "layer_norm.cuh"
#include "losses.cuh"
#include "patches.cuh"
#include "pictures.cuh"
#include "pools.cuh"
#include "strides.cuh"
#include "transpose.cuh"
#include "update.cuh"
#include "weights.cuh"
