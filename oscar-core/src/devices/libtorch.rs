//! LibTorch: the GPUs it was built for, or the CPU.

use burn_tch::LibTorchDevice;

use super::Found;

/// The GPUs that LibTorch finds, or the CPU.
pub fn devices() -> Vec<Found<LibTorchDevice>> {
    let gpus = match tch::Cuda::is_available() {
        true => tch::Cuda::device_count(),
        false => 0,
    };
    if gpus == 0 {
        return vec![Found {
            device: LibTorchDevice::Cpu,
            name: format!("CPU, {} threads", tch::get_num_threads()),
            bf16: true,
        }];
    }
    (0..gpus as usize)
        .map(|index| Found {
            device: LibTorchDevice::Cuda(index),
            name: format!("CUDA GPU {index}"),
            bf16: true,
        })
        .collect()
}
