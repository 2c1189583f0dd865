//! Sums over the GPUs of a process, beside those of main memory.
#![cfg(feature = "cuda")]

use burn::tensor::{Tensor, TensorData};
use burn_cuda::{Cuda, CudaDevice};
use oscar_core::devices::cuda;
use oscar_core::ops::Kernels;

/// Sizes of the tensors that are summed at once: one value, and more than a block of any kernel.
const SIZES: [usize; 3] = [1, 100_003, 4096];

/// What device `rank` adds, different in size by place, so that a wrong order or place shows.
fn values(rank: usize, size: usize) -> Vec<f32> {
    let value = |i: usize| (1.0 + rank as f32) * 0.1 * 10_f32.powi(i as i32 % 7 - 3);
    (0..size).map(value).collect()
}

/// What each of `world` devices has after two sums, one after the other: the second adds the first.
fn summed(world: usize) -> Vec<Vec<Vec<f32>>> {
    let devices: Vec<CudaDevice> = (0..world).map(CudaDevice::new).collect();
    std::thread::scope(|scope| {
        let own = |rank: usize| {
            let devices = &devices;
            scope.spawn(move || {
                let sum = <Cuda as Kernels>::all_reduce().expect("NCCL");
                let tensors = SIZES.map(|size| {
                    let data = TensorData::new(values(rank, size), [size]);
                    Tensor::<Cuda, 1>::from_data(data, &devices[rank])
                });
                let sums = sum(sum(tensors.to_vec(), devices), devices);
                let read = sums.into_iter().map(|sum| sum.into_data().iter().collect());
                read.collect()
            })
        };
        let threads: Vec<_> = (0..world).map(own).collect();
        let threads = threads.into_iter();
        threads
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    })
}

#[test]
#[ignore = "needs two GPUs or more, or those of tools/dry-cuda"]
fn devices_sum_what_main_memory_sums() {
    let found = cuda::devices().expect("GPUs").len();
    assert!(found > 1, "{found} GPU");
    for world in [2, 4, 8].into_iter().filter(|world| *world <= found) {
        for (rank, sums) in summed(world).iter().enumerate() {
            for (sum, size) in sums.iter().zip(SIZES) {
                let mut expected = values(0, size);
                for other in 1..world {
                    let other = values(other, size);
                    expected
                        .iter_mut()
                        .zip(other)
                        .for_each(|(sum, value)| *sum += value);
                }
                assert_eq!(sum.len(), size);
                for (place, (sum, expected)) in sum.iter().zip(&expected).enumerate() {
                    // Each device has the same first sum, and adds that of the others to it.
                    let expected = expected * world as f32;
                    assert!(
                        (sum - expected).abs() <= 1e-6 * expected,
                        "device {rank} of {world}, value {place}: {sum} where {expected} was expected"
                    );
                }
            }
        }
    }
}
