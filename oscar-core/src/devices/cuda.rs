//! NVIDIA GPUs, through the driver and NVRTC, which compiles the kernels.
//!
//! CubeCL panics in the middle of a computation if a library, a header or a version of these is
//! missing, so everything is checked here first.

use std::ffi::c_int;
use std::path::{Path, PathBuf};

use burn_cuda::CudaDevice;
use cudarc::driver::{result, sys};
use cudarc::nvrtc::sys as nvrtc;

use super::{Found, NoDevice};

/// The first compute capability whose tensor cores support bf16.
const BF16_SINCE: i32 = 80;

/// The oldest NVRTC that compiles the kernels.
const NVRTC_SINCE: [c_int; 2] = [12, 0];

/// Headers that kernels include, in `include/` of the toolkit. `mma.h` includes the last one, which
/// comes with the compiler, not with the runtime.
const HEADERS: [&str; 5] = [
    "cuda_runtime.h",
    "cuda_fp16.h",
    "cuda_bf16.h",
    "mma.h",
    "crt/mma.h",
];

/// All GPUs, in the driver's order.
///
/// # Errors
///
/// If the driver, NVRTC or a header that the kernels include is missing, if NVRTC is older than 12.0,
/// newer than what the driver loads, or does not know the GPU, or if the driver reports no GPU.
pub fn devices() -> Result<Vec<Found<CudaDevice>>, NoDevice> {
    // SAFETY: only checks whether the libraries can be loaded; calls nothing in them.
    let (driver, compiler) = unsafe { (sys::is_culib_present(), nvrtc::is_culib_present()) };
    if !driver {
        return Err(no_driver("the NVIDIA driver (libcuda) cannot be loaded"));
    }
    let reported = |error| no_driver(&format!("the driver reported {error:?}"));
    result::init().map_err(reported)?;
    let count = result::device::get_count().map_err(reported)?;
    let gpus: Vec<_> = (0..count).filter_map(Gpu::describe).collect();
    if gpus.is_empty() {
        return Err(no_driver("the driver reports no GPU"));
    }
    if !compiler {
        return Err(no_toolkit("NVRTC (libnvrtc) cannot be loaded".into()));
    }
    check_versions(nvrtc_version(), driver_version(), &supported(), &gpus).map_err(no_toolkit)?;
    check_headers(toolkit().as_deref()).map_err(no_toolkit)?;
    Ok(gpus.into_iter().map(Found::from).collect())
}

/// Whether NCCL can be loaded, by which several GPUs sum their gradients.
pub fn has_nccl() -> bool {
    // SAFETY: only checks whether the library can be loaded; calls nothing in it.
    unsafe { cudarc::nccl::sys::is_culib_present() }
}

/// A GPU as the driver describes it.
struct Gpu {
    index: usize,
    name: String,
    /// Ten times the compute capability: 90 is 9.0.
    capability: c_int,
}

impl Gpu {
    fn describe(index: i32) -> Option<Self> {
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        };
        let device = result::device::get(index).ok()?;
        // SAFETY: `device` came from the driver.
        let attribute = |which| unsafe { result::device::get_attribute(device, which) }.ok();
        Some(Self {
            index: index as usize,
            name: result::device::get_name(device).ok()?,
            capability: 10 * attribute(MAJOR)? + attribute(MINOR)?,
        })
    }
}

impl From<Gpu> for Found<CudaDevice> {
    fn from(gpu: Gpu) -> Self {
        Self {
            device: CudaDevice::new(gpu.index),
            name: gpu.name,
            bf16: gpu.capability >= BF16_SINCE,
        }
    }
}

/// Whether this NVRTC compiles for these GPUs what this driver loads; what is wrong if not. Versions
/// are `[major, minor]`.
fn check_versions(
    nvrtc: [c_int; 2],
    driver: [c_int; 2],
    supported: &[c_int],
    gpus: &[Gpu],
) -> Result<(), String> {
    let name = |[major, minor]: [c_int; 2]| format!("{major}.{minor}");
    let found = name(nvrtc);
    if nvrtc < NVRTC_SINCE {
        return Err(format!(
            "NVRTC is version {found}, but kernels need {} or newer",
            name(NVRTC_SINCE)
        ));
    }
    if nvrtc > driver {
        return Err(format!(
            "NVRTC is version {found}, but the driver loads only what versions up to {} compile",
            name(driver)
        ));
    }
    match gpus.iter().find(|gpu| !supported.contains(&gpu.capability)) {
        None => Ok(()),
        Some(gpu) => Err(format!(
            "NVRTC {found} does not compile for compute capability {} of GPU {} ({})",
            name([gpu.capability / 10, gpu.capability % 10]),
            gpu.index,
            gpu.name
        )),
    }
}

/// Whether all headers are in the `toolkit`; what is missing if not.
fn check_headers(toolkit: Option<&Path>) -> Result<(), String> {
    let Some(toolkit) = toolkit else {
        return Err(
            "the headers of CUDA are not found: CUDA_PATH is not set, and there is \
             neither /usr/local/cuda nor /opt/cuda"
                .into(),
        );
    };
    let include = toolkit.join("include");
    let missing = HEADERS
        .iter()
        .find(|header| !include.join(header).is_file());
    match missing {
        None => Ok(()),
        Some(header) => Err(format!(
            "the header {} is missing (CUDA_PATH is the directory above include)",
            include.join(header).display()
        )),
    }
}

/// The directory whose `include/` CubeCL gives to NVRTC.
fn toolkit() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CUDA_PATH") {
        return Some(path.into());
    }
    if cfg!(windows) {
        return Some("C:/Program Files/NVIDIA GPU Computing Toolkit/CUDA/".into());
    }
    let installed = [
        ("/usr/local/cuda", "/usr/local/cuda"),
        ("/opt/cuda", "/opt/cuda"),
        ("/usr/bin/nvcc", "/usr"),
    ];
    let found = installed.iter().find(|(sign, _)| Path::new(sign).exists());
    found.map(|(_, path)| path.into())
}

/// `[major, minor]`; zeros if the library does not tell.
fn nvrtc_version() -> [c_int; 2] {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is loaded, and writes one number to each.
    unsafe { nvrtc::nvrtcVersion(&raw mut major, &raw mut minor) };
    [major, minor]
}

/// Version of CUDA that the driver supports, `[major, minor]`; zeros if it does not tell.
fn driver_version() -> [c_int; 2] {
    let mut version = 0;
    // SAFETY: the library is loaded, and writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut version) };
    [version / 1000, version % 1000 / 10]
}

/// Ten times the compute capabilities that NVRTC compiles for.
fn supported() -> Vec<c_int> {
    let mut count = 0;
    // SAFETY: the library is loaded, and writes one number.
    unsafe { nvrtc::nvrtcGetNumSupportedArchs(&raw mut count) };
    let mut supported = vec![0; usize::try_from(count).unwrap_or_default()];
    // SAFETY: it writes as many numbers as it said.
    unsafe { nvrtc::nvrtcGetSupportedArchs(supported.as_mut_ptr()) };
    supported
}

fn no_driver(reason: &str) -> NoDevice {
    NoDevice {
        backend: "cuda",
        reason: reason.to_owned(),
        remedy: "install the NVIDIA driver, or use another backend",
    }
}

fn no_toolkit(reason: String) -> NoDevice {
    NoDevice {
        backend: "cuda",
        reason,
        remedy: "install NVRTC and the headers of CUDA 12 in a version that fits the driver, from the \
                 CUDA toolkit or from PyPI (docs/backends.md has the commands), or use another backend",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(capability: c_int) -> [Gpu; 1] {
        [Gpu {
            index: 0,
            name: "a GPU".into(),
            capability,
        }]
    }

    #[test]
    fn versions_that_do_not_fit_are_named() {
        let supported = [75, 80, 90];
        let check = |nvrtc, driver, capability| {
            check_versions(nvrtc, driver, &supported, &gpu(capability)).err()
        };
        assert_eq!(check([12, 4], [12, 4], 90), None);
        assert_eq!(check([12, 4], [13, 0], 75), None);
        let names = |error: Option<String>, part: &str| {
            let error = error.expect("does not fit");
            assert!(error.contains(part), "{error}");
        };
        names(check([11, 8], [12, 4], 90), "11.8");
        names(check([12, 9], [12, 4], 90), "12.4");
        names(check([12, 4], [12, 4], 100), "10.0");
    }

    #[test]
    fn the_first_missing_header_is_named() {
        let toolkit = tempfile::tempdir().expect("a directory");
        let include = toolkit.path().join("include");
        std::fs::create_dir_all(include.join("crt")).expect("a directory");
        for header in HEADERS {
            let error = check_headers(Some(toolkit.path())).expect_err("a header is missing");
            let path = include.join(header);
            assert!(error.contains(&path.display().to_string()), "{error}");
            std::fs::write(path, "").expect("a file");
        }
        assert_eq!(check_headers(Some(toolkit.path())), Ok(()));
        assert!(check_headers(None).is_err());
    }
}
