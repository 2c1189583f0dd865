//! Seconds for a picture of 640 x 480 pixels and peak memory of both detectors at their published
//! size, with random weights, on the CPU.
//!
//! ```sh
//! cargo bench -p oscar-vision --bench detector -- [frcnn|vinvl] [PICTURES]
//! ```
//!
//! `benches/pytorch/detector.py` is PyTorch doing the same.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use image::{Rgb, RgbImage};
use oscar_vision::detector::{Detector, DetectorConfig, Prepared, prepare};

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|a| !a.starts_with("--")).collect();
    let chosen = arguments.get(1).map(String::as_str);
    let pictures = arguments.get(2).and_then(|n| n.parse().ok()).unwrap_or(1);
    for (name, config) in [
        ("frcnn", DetectorConfig::frcnn_vg()),
        ("vinvl", DetectorConfig::vinvl_vg()),
    ] {
        if chosen.is_none_or(|chosen| chosen == name) {
            measure(name, config, pictures);
        }
    }
}

fn measure(name: &str, config: DetectorConfig, pictures: usize) {
    let detector = Detector::<Flex>::random(config, &FlexDevice).expect("published settings");
    let pixel = |x: u32, y: u32| Rgb([(x * y / 7) as u8, (x * 3 + y) as u8, (x ^ y) as u8]);
    let image = RgbImage::from_fn(640, 480, pixel);
    let input = prepare(detector.config(), &image).expect("a picture of usual size");
    println!("{name}: input {} x {}", input.size[1], input.size[0]);
    stages(&detector, &input);
    for _ in 0..pictures {
        let start = Instant::now();
        let found = detector.detect(std::slice::from_ref(&input)).remove(0);
        println!(
            "{name}: {:.2} s for a picture of {} proposals, {} boxes; peak memory {} MiB",
            start.elapsed().as_secs_f64(),
            found.proposals.boxes.len(),
            found.boxes.len(),
            peak_memory_mib()
        );
    }
}

/// The time of each part of the network.
fn stages(detector: &Detector<Flex>, input: &Prepared) {
    let network = detector.network();
    let shape = [1, input.size[0] as usize, input.size[1] as usize, 3];
    let pixels = TensorData::new(input.pixels.clone(), shape);
    let pixels = Tensor::from_data(pixels, &FlexDevice);
    let timed = |part: &str, compute: &dyn Fn() -> Tensor<Flex, 4>| {
        let start = Instant::now();
        let out = compute();
        println!(
            "  {part}: {:.3} s {:?}",
            start.elapsed().as_secs_f64(),
            out.dims()
        );
        out
    };
    let mut x = timed("stem", &|| network.stem(pixels.clone()));
    for stage in 2..=4 {
        x = timed(&format!("res{stage}"), &|| network.stage(stage, x.clone()));
    }
    timed("proposal head", &|| network.proposal_maps(x.clone()).logits);
    let [.., channels] = x.dims();
    let cells = Tensor::<Flex, 4>::ones([32, 14, 14, channels], &FlexDevice);
    timed("res5 of 32 regions", &|| network.res5(cells.clone()));
}

/// The most memory that the process had, as Linux reports it; 0 elsewhere.
fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
