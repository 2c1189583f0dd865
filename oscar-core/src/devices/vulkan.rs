//! GPUs through wgpu: Vulkan on Linux and Windows, Metal on macOS.

use burn_wgpu::WgpuDevice;
use wgpu::{Backends, DeviceType, Instance, InstanceDescriptor};

use super::{Found, NoDevice};

/// The graphics interface that the backend chooses by default.
const INTERFACE: Backends = if cfg!(target_vendor = "apple") {
    Backends::METAL
} else {
    Backends::VULKAN
};

/// Discrete GPUs, integrated ones, virtual ones, then software.
///
/// # Errors
///
/// If there is no driver, or it reports no device.
pub fn devices() -> Result<Vec<Found<WgpuDevice>>, NoDevice> {
    let instance = Instance::new(InstanceDescriptor {
        backends: INTERFACE,
        ..InstanceDescriptor::new_without_display_handle()
    });
    let adapters = pollster::block_on(instance.enumerate_adapters(INTERFACE));
    let infos: Vec<_> = adapters.iter().map(wgpu::Adapter::get_info).collect();
    let mut found = Vec::new();
    for wanted in [
        DeviceType::DiscreteGpu,
        DeviceType::IntegratedGpu,
        DeviceType::VirtualGpu,
        DeviceType::Cpu,
    ] {
        let of_type = infos.iter().filter(|info| info.device_type == wanted);
        for (index, info) in of_type.enumerate() {
            let device = match wanted {
                DeviceType::DiscreteGpu => WgpuDevice::DiscreteGpu(index),
                DeviceType::IntegratedGpu => WgpuDevice::IntegratedGpu(index),
                DeviceType::VirtualGpu => WgpuDevice::VirtualGpu(index),
                // The backend has only one software device.
                _ if index == 0 => WgpuDevice::Cpu,
                _ => continue,
            };
            found.push(Found {
                device,
                name: info.name.clone(),
                // bf16 in Vulkan is for storage and conversion, not for arithmetic.
                bf16: false,
            });
        }
    }
    match found.is_empty() {
        true => Err(NoDevice {
            backend: "wgpu",
            reason: "no Vulkan or Metal driver reports one".into(),
            remedy: "install the GPU's Vulkan driver and loader (on Debian libvulkan1 and, for \
                     software Vulkan, mesa-vulkan-drivers), or use another backend",
        }),
        false => Ok(found),
    }
}
