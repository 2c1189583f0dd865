//! Whether a corpus of any size opens in seconds, costs the same per row, and holds still in
//! memory: corpora of growing size, in both layouts, over a region store of 20 GB.
//!
//! `cargo bench -p oscar-datasets --bench scale`
//!
//! | variable | is | by default |
//! |---|---|---|
//! | `OSCAR_BENCH_ROWS` | numbers of rows | `10000,100000,1000000` |
//! | `OSCAR_BENCH_IMAGES` | images of the store, of 30 regions each | 160000 |
//! | `OSCAR_BENCH_BATCHES` | batches of 128 rows read of each corpus | 78 |
//! | `OSCAR_BENCH_WINDOW` | rows of the windows that are shuffled together | 8192 |
//! | `OSCAR_BENCH_DIR` | where the files are written | the temporary directory |
//!
//! The features are holes in sparse files, which read as zeros: they take the time of copying and
//! the memory of real ones, and no room on the disk. Everything else is real, about 1 GB, and is
//! removed at the end. Each measurement is a process of its own that finds the features outside of
//! memory, as after a restart, and one thread does all the work.

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

mod generate;
mod measure;

use std::path::{Path, PathBuf};
use std::process::Command;

use generate::Layout;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Argument that makes the program measure one corpus, and where it is.
const MEASURE: &str = "--measure";

struct Settings {
    rows: Vec<usize>,
    images: usize,
    batches: usize,
    window: usize,
    dir: PathBuf,
}

impl Settings {
    fn from_env() -> Result<Self> {
        let number = |name: &str, default: usize| -> Result<usize> {
            match std::env::var(name) {
                Err(_) => Ok(default),
                Ok(text) => parse(name, &text),
            }
        };
        let rows = std::env::var("OSCAR_BENCH_ROWS");
        let rows = rows.unwrap_or("10000,100000,1000000".into());
        let rows = rows.split(',').map(|text| parse("OSCAR_BENCH_ROWS", text));
        Ok(Self {
            rows: rows.collect::<Result<_>>()?,
            images: number("OSCAR_BENCH_IMAGES", 160_000)?,
            batches: number("OSCAR_BENCH_BATCHES", 78)?,
            window: number("OSCAR_BENCH_WINDOW", 8192)?,
            dir: std::env::var_os("OSCAR_BENCH_DIR").map_or(std::env::temp_dir(), PathBuf::from),
        })
    }
}

fn parse(name: &str, text: &str) -> Result<usize> {
    match text.trim().parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err(format!("{name} is {text:?}, not a number above 0").into()),
    }
}

fn main() -> Result<()> {
    let settings = Settings::from_env()?;
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == MEASURE) {
        return match &args[at + 1..] {
            [title, corpus, regions, window, ..] => {
                let (corpus, regions) = (Path::new(corpus), Path::new(regions));
                let line = measure::run(corpus, regions, window.parse()?, settings.batches)?;
                println!("{title}{line}");
                Ok(())
            }
            _ => Err("--measure TITLE CORPUS REGIONS WINDOW".into()),
        };
    }
    std::fs::create_dir_all(&settings.dir)?;
    let dir = tempfile::Builder::new()
        .prefix("oscar-scale-")
        .tempdir_in(&settings.dir)?;
    let store = dir.path().join("store");
    let bytes = generate::store(&store, settings.images)?;
    println!(
        "store of {} images, {:.1} GB; {} batches of {} rows of each corpus",
        settings.images,
        bytes as f64 / 1e9,
        settings.batches,
        measure::BATCH,
    );
    println!("{}", measure::HEADER);
    for &rows in &settings.rows {
        for layout in [Layout::Jsonl, Layout::Official] {
            let corpus = generate::corpus(dir.path(), layout, rows, settings.images)?;
            let regions = match layout {
                Layout::Jsonl => store.as_path(),
                Layout::Official => dir.path(),
            };
            for window in [0, settings.window] {
                generate::forget_features(&store)?;
                let status = Command::new(std::env::current_exe()?)
                    .arg(MEASURE)
                    .arg(format!("{rows:>9}  {layout:<10}"))
                    .args([&corpus, regions])
                    .arg(window.to_string())
                    .status()?;
                if !status.success() {
                    return Err(format!("the measurement ended with {status}").into());
                }
            }
        }
    }
    Ok(())
}
