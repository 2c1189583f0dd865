//! How fast batches of region features are put together: from a region store, from an official
//! table, by plain copying, and by the official loader's way in Python, in turn.
//!
//! `cargo bench -p oscar-datasets --bench regions`
//!
//! | variable | is | by default |
//! |---|---|---|
//! | `OSCAR_BENCH_IMAGES` | images of the data set | 512 |
//! | `OSCAR_BENCH_BATCH` | images of a batch | 64 |
//! | `OSCAR_BENCH_REGIONS` | regions of an image | 50 |
//! | `OSCAR_BENCH_ROUNDS` | rounds, each way once in each | 7 |
//! | `OSCAR_PYTHON` | a Python with NumPy, perhaps torch | `python3` |
//!
//! Files lie in the temporary directory and are read before they are timed: what is measured is
//! the work of the processor, not of the disk. Every way must give the same numbers.

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use oscar_core::input::{RegionSource, SourceError};
use oscar_datasets::official::{FEATURE_DIM, OfficialImages, OfficialOptions};
use oscar_datasets::{Boxes, ImageRegions, RegionStore, StoreDtype, StoreOptions, StoreWriter};
use rayon::prelude::*;

type Result<T> = std::result::Result<T, SourceError>;

/// Values of a region: features and box.
const DIM: usize = FEATURE_DIM + 6;

struct Sizes {
    images: usize,
    batch: usize,
    regions: usize,
    rounds: usize,
}

impl Sizes {
    fn from_env() -> Result<Self> {
        let number = |name: &str, default: usize| match std::env::var(name) {
            Err(_) => Ok(default),
            Ok(text) => match text.parse() {
                Ok(number @ 1..) => Ok(number),
                _ => Err(format!("{name} is {text:?}, not a number above 0")),
            },
        };
        let sizes = Self {
            images: number("OSCAR_BENCH_IMAGES", 512)?,
            batch: number("OSCAR_BENCH_BATCH", 64)?,
            regions: number("OSCAR_BENCH_REGIONS", 50)?,
            rounds: number("OSCAR_BENCH_ROUNDS", 7)?,
        };
        match sizes.images < sizes.batch {
            true => Err("OSCAR_BENCH_IMAGES is below OSCAR_BENCH_BATCH".into()),
            false => Ok(sizes),
        }
    }

    /// Values of an image.
    fn image(&self) -> usize {
        self.regions * DIM
    }

    /// The images of each batch of an epoch, in an order without order.
    fn batches(&self) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.images).collect();
        let mut random = Random(1);
        for i in (1..order.len()).rev() {
            order.swap(i, random.next() as usize % (i + 1));
        }
        let batches = order.chunks_exact(self.batch);
        batches.map(<[usize]>::to_vec).collect()
    }
}

/// Numbers without order: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}

/// Features that half precision holds exactly, so that all ways give the same sums.
fn values(sizes: &Sizes) -> Vec<f32> {
    let mut random = Random(7);
    let mut values: Vec<f32> = (0..sizes.images * sizes.image())
        .map(|_| (random.next() % 2048) as f32 / 256.0)
        .collect();
    for region in values.chunks_exact_mut(DIM) {
        region[FEATURE_DIM..].copy_from_slice(&[0.25, 0.125, 0.75, 0.625, 0.5, 0.5]);
    }
    values
}

fn key(image: usize) -> String {
    format!("{image:012}")
}

fn write_store(dir: &Path, sizes: &Sizes, values: &[f32], dtype: StoreDtype) -> Result<()> {
    let options = StoreOptions {
        dtype,
        ..StoreOptions::new(FEATURE_DIM)
    };
    let mut writer = StoreWriter::create(dir, options)?;
    for (image, values) in values.chunks_exact(sizes.image()).enumerate() {
        let regions = values.chunks_exact(DIM);
        let features: Vec<f32> = regions
            .clone()
            .flat_map(|r| &r[..FEATURE_DIM])
            .copied()
            .collect();
        let boxes = regions.map(|region| <[f32; 6]>::try_from(&region[FEATURE_DIM..]));
        let boxes: Vec<[f32; 6]> = boxes.collect::<std::result::Result<_, _>>()?;
        writer.push(ImageRegions {
            key: &key(image),
            width: 640,
            height: 480,
            features: &features,
            boxes: Boxes::Relative(&boxes),
            tags: &[],
        })?;
    }
    Ok(writer.finish()?)
}

fn write_table(path: &Path, sizes: &Sizes, values: &[f32]) -> Result<()> {
    let mut table = BufWriter::new(fs::File::create(path)?);
    let mut index = String::new();
    let mut offset = 0;
    for (image, values) in values.chunks_exact(sizes.image()).enumerate() {
        let blob = base64_simd::STANDARD.encode_to_string(bytemuck::cast_slice::<f32, u8>(values));
        let line = format!("{}\t{}\t{blob}\n", key(image), sizes.regions);
        table.write_all(line.as_bytes())?;
        index += &format!("{offset}\n");
        offset += line.len();
    }
    table.flush()?;
    Ok(fs::write(path.with_extension("lineidx"), index)?)
}

/// One way of putting batches together. Gives the seconds of an epoch, and the sum of its last
/// batch.
trait Way {
    fn epoch(&mut self) -> Result<(f64, f64)>;
}

/// Any source of regions, on one thread or on all.
struct Source<'a> {
    regions: Arc<dyn RegionSource>,
    batches: &'a [Vec<usize>],
    buffer: Vec<f32>,
    threads: bool,
}

impl Way for Source<'_> {
    fn epoch(&mut self) -> Result<(f64, f64)> {
        let size = self.buffer.len() / self.batches[0].len();
        let start = Instant::now();
        for batch in self.batches {
            let copy = |(row, out): (&usize, &mut [f32])| self.regions.copy_regions(*row, out);
            let outs = self.buffer.chunks_exact_mut(size);
            match self.threads {
                false => batch.iter().zip(outs).try_for_each(copy)?,
                true => {
                    let outs: Vec<&mut [f32]> = outs.collect();
                    batch.par_iter().zip(outs).try_for_each(copy)?;
                }
            }
        }
        Ok((start.elapsed().as_secs_f64(), sum(&self.buffer)))
    }
}

/// Regions that lie in memory as a batch wants them: no way can be faster.
struct InMemory {
    values: Vec<f32>,
    size: usize,
}

impl RegionSource for InMemory {
    fn region_dim(&self) -> usize {
        DIM
    }

    fn num_regions(&self, _: usize) -> Result<usize> {
        Ok(self.size / DIM)
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.values[row * self.size..(row + 1) * self.size]);
        Ok(())
    }
}

/// The official loader's way.
struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    library: String,
}

impl Python {
    fn start(table: &Path, sizes: &Sizes, batches: &[Vec<usize>]) -> Result<Self> {
        let python = std::env::var("OSCAR_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut child = Command::new(&python)
            .arg("-c")
            .arg(include_str!("loader.py"))
            .arg(table)
            .arg(format!("{batches:?}"))
            .arg(sizes.regions.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{python} does not start ({error})"))?;
        let input = child.stdin.take().ok_or("no pipe")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut library = String::new();
        output.read_line(&mut library)?;
        if library.is_empty() {
            let said = child.wait_with_output()?.stderr;
            let said = String::from_utf8_lossy(&said);
            let last = said.trim().lines().last().unwrap_or_default().to_string();
            return Err(format!("{python}: {last}").into());
        }
        Ok(Self {
            child,
            input,
            output,
            library: library.trim().into(),
        })
    }
}

impl Way for Python {
    fn epoch(&mut self) -> Result<(f64, f64)> {
        self.input.write_all(b"\n")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sum of a batch, in double precision so that order hardly matters.
fn sum(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[allow(clippy::too_many_lines, reason = "each measurement beside the next")]
fn main() -> Result<()> {
    let sizes = Sizes::from_env()?;
    let batches = sizes.batches();
    let bytes = (batches.len() * sizes.batch * sizes.image() * 4) as f64;
    println!(
        "{} batches of {} images x {} regions x {DIM} values, {:.0} MB an epoch; {} threads; \
         medians of {} rounds in turn",
        batches.len(),
        sizes.batch,
        sizes.regions,
        bytes / 1e6,
        rayon::current_num_threads(),
        sizes.rounds
    );
    let dir = tempfile::tempdir()?;
    let [single, half, table] = ["f32", "f16", "features.tsv"].map(|name| dir.path().join(name));
    let in_memory = values(&sizes);
    write_store(&single, &sizes, &in_memory, StoreDtype::F32)?;
    write_store(&half, &sizes, &in_memory, StoreDtype::F16)?;
    write_table(&table, &sizes, &in_memory)?;

    let sources: [(&str, Arc<dyn RegionSource>); 4] = [
        (
            "memory, plain copy",
            Arc::new(InMemory {
                values: in_memory,
                size: sizes.image(),
            }),
        ),
        ("region store, 32 bits", RegionStore::open(&single)?),
        ("region store, 16 bits", RegionStore::open(&half)?),
        (
            "official table",
            OfficialImages::open(&table, OfficialOptions::default())?,
        ),
    ];
    let mut ways: Vec<(String, Box<dyn Way + '_>)> = Vec::new();
    for threads in [false, true] {
        for (name, regions) in &sources {
            let name = format!(
                "{name}, {}",
                if threads { "all threads" } else { "one thread" }
            );
            let way = Source {
                regions: regions.clone(),
                batches: &batches,
                buffer: vec![0.0; sizes.batch * sizes.image()],
                threads,
            };
            ways.push((name, Box::new(way)));
        }
    }
    match Python::start(&table, &sizes, &batches) {
        Ok(python) => {
            let name = format!("official loader's way, Python with {}", python.library);
            ways.push((name, Box::new(python)));
        }
        Err(error) => println!("skipped: the official loader's way in Python: {error}"),
    }

    let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
    // The first round warms up, and shows that all give the same.
    for round in 0..=sizes.rounds {
        let mut expected = None;
        for ((name, way), seconds) in ways.iter_mut().zip(&mut seconds) {
            let (taken, sum) = way.epoch()?;
            let expected = *expected.get_or_insert(sum);
            if (sum - expected).abs() > 1e-3 * expected.abs() {
                return Err(format!("{name} gives {sum}, not {expected}").into());
            }
            if round > 0 {
                seconds.push(taken);
            }
        }
    }
    println!(
        "{:<48}{:>8}{:>16}{:>12}{:>10}",
        "way", "GB/s", "(range)", "images/s", "of copy"
    );
    let images = (batches.len() * sizes.batch) as f64;
    for ((name, _), taken) in ways.iter().zip(&seconds) {
        // A way is compared with plain copying on as many threads, round by round.
        let copy = match name.ends_with("all threads") {
            true => &seconds[sources.len()],
            false => &seconds[0],
        };
        let ratios: Vec<f64> = copy
            .iter()
            .zip(taken)
            .map(|(copy, taken)| copy / taken)
            .collect();
        let speeds: Vec<f64> = taken.iter().map(|taken| bytes / 1e9 / taken).collect();
        let (low, high) = speeds.iter().fold((f64::MAX, 0.0f64), |(low, high), v| {
            (low.min(*v), high.max(*v))
        });
        let speed = median(&speeds);
        println!(
            "{name:<48}{speed:>8.3}{:>16}{:>12.0}{:>9.1}%",
            format!("({low:.2}-{high:.2})"),
            speed * 1e9 * images / bytes,
            100.0 * median(&ratios)
        );
    }
    Ok(())
}
