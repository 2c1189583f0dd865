//! Measured limits of the device, which results are compared with.

use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Distribution, Element, Tensor};
use oscar_core::ops::Precision;
use rayon::prelude::*;

/// Edges of the square matrices to multiply; larger ones are tried only while a product is fast.
const EDGES: [usize; 5] = [512, 1024, 2048, 4096, 8192];

/// Time of one product, in seconds, above which larger ones are not tried.
const SLOW: f64 = 0.2;

/// Least time for which products of one size are repeated, in seconds.
const LONG: f64 = 0.3;

/// Least memory traffic of AdamW for a parameter of 4 bytes: it reads the parameter, its gradient and two
/// moments, and writes the parameter and the moments.
const ADAMW_BYTES: f64 = 28.0;

/// Passes over memory, of which the fastest counts.
const PASSES: usize = 4;

/// Name of the device, the processor and its number of cores.
pub fn name<B: Backend>(device: &B::Device) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{device:?} on {model}, {cores} cores")
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Floating-point operations per second of the fastest of some products of square matrices, in the
/// precision of the thread.
///
/// # Errors
///
/// If the device fails.
pub fn peak_flops<B: Backend>(device: &B::Device) -> Result<f64> {
    let mut peak: f64 = 0.0;
    for edge in EDGES {
        let matrix = || {
            let range = Distribution::Uniform(-1.0, 1.0);
            let matrix = Tensor::<B, 2>::random([edge, edge], range, device);
            match Precision::current() {
                Precision::F32 => matrix,
                Precision::Bf16 => matrix.cast(DType::BF16),
            }
        };
        let (a, b) = (matrix(), matrix());
        let products = |count: usize| -> Result<f64> {
            let start = Instant::now();
            for _ in 0..count {
                let _ = a.clone().matmul(b.clone());
            }
            sync::<B>(device)?;
            Ok(start.elapsed().as_secs_f64() / count as f64)
        };
        products(1)?;
        let mut seconds = products(1)?;
        // Twice as many each time, so that a device with a queue is never idle.
        let (mut count, mut spent) = (1, 0.0);
        while spent < LONG {
            let each = products(count)?;
            seconds = seconds.min(each);
            spent += each * count as f64;
            count *= 2;
        }
        peak = peak.max(2.0 * (edge as f64).powi(3) / seconds);
        if seconds > SLOW {
            break;
        }
    }
    Ok(peak)
}

/// Least time for the memory traffic of an AdamW step over `parameters` values, in seconds, at the
/// measured bandwidth of scaling as many values in place.
///
/// # Errors
///
/// If the device fails.
pub fn adamw_floor<B: Backend>(parameters: usize, device: &B::Device) -> Result<f64> {
    let bytes_of_a_pass = 2.0 * 4.0 * parameters as f64;
    let seconds = match B::name(device) == "flex" {
        // Its own scaling runs on one core.
        true => scale_on_host(parameters),
        false => scale::<B>(parameters, device)?,
    };
    Ok(seconds * ADAMW_BYTES * parameters as f64 / bytes_of_a_pass)
}

fn scale<B: Backend>(parameters: usize, device: &B::Device) -> Result<f64> {
    let mut values = Tensor::<B, 1>::ones([parameters], device);
    let mut fastest = f64::INFINITY;
    for _ in 0..=PASSES {
        sync::<B>(device)?;
        let start = Instant::now();
        values = values.mul_scalar(0.999);
        sync::<B>(device)?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    let bytes = <B::FloatElem as Element>::dtype().size() as f64;
    Ok(fastest * 4.0 / bytes)
}

fn scale_on_host(parameters: usize) -> f64 {
    let mut values = vec![1.0f32; parameters];
    let chunk = parameters.div_ceil(4 * rayon::current_num_threads()).max(1);
    let pass = |values: &mut [f32]| {
        let start = Instant::now();
        values.par_chunks_mut(chunk).for_each(|chunk| {
            for value in chunk {
                *value *= 0.999;
            }
        });
        start.elapsed().as_secs_f64()
    };
    (0..PASSES)
        .map(|_| pass(&mut values))
        .fold(f64::INFINITY, f64::min)
}

/// Waits for the device.
///
/// # Errors
///
/// If it failed.
pub fn sync<B: Backend>(device: &B::Device) -> Result<()> {
    B::sync(device).context("the device failed")
}
