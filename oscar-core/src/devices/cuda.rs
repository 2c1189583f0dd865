//! NVIDIA GPUs, through the driver and NVRTC, which compiles the kernels.

use burn_cuda::CudaDevice;
use cudarc::driver::{result, sys};

use super::{Found, NoDevice};

/// The first compute capability whose tensor cores support bf16.
const BF16_SINCE: i32 = 8;

/// All GPUs, in the driver's order.
///
/// # Errors
///
/// If the driver or NVRTC cannot be loaded, or the driver reports no GPU.
pub fn devices() -> Result<Vec<Found<CudaDevice>>, NoDevice> {
    // SAFETY: only checks whether the libraries can be loaded; calls nothing in them.
    let (driver, nvrtc) = unsafe {
        (
            sys::is_culib_present(),
            cudarc::nvrtc::sys::is_culib_present(),
        )
    };
    if !driver {
        return Err(missing("the NVIDIA driver (libcuda) cannot be loaded"));
    }
    if !nvrtc {
        return Err(missing("NVRTC (libnvrtc) cannot be loaded"));
    }
    let count = result::init()
        .and_then(|()| result::device::get_count())
        .map_err(|error| missing(&format!("the driver reported {error:?}")))?;
    let found: Vec<_> = (0..count).filter_map(describe).collect();
    match found.is_empty() {
        true => Err(missing("the driver reports no GPU")),
        false => Ok(found),
    }
}

fn describe(index: i32) -> Option<Found<CudaDevice>> {
    let device = result::device::get(index).ok()?;
    let capability = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
    // SAFETY: `device` came from the driver.
    let major = unsafe { result::device::get_attribute(device, capability) }.ok()?;
    Some(Found {
        device: CudaDevice::new(index as usize),
        name: result::device::get_name(device).ok()?,
        bf16: major >= BF16_SINCE,
    })
}

fn missing(reason: &str) -> NoDevice {
    NoDevice {
        backend: "cuda",
        reason: reason.to_owned(),
        remedy: "install the NVIDIA driver and the CUDA runtime with NVRTC (12 or newer), \
                 or use another backend",
    }
}
