//! Search in indexes of generated vectors: how fast one is written and opened, how large it is, and how
//! long a query takes as the number of pictures grows.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use oscar_search::{IndexError, NewIndex, VectorIndex, Vectors};
use oscar_train::bytes;
use serde_json::{Value, json};

use super::BenchArgs;
use crate::output::{self, print_json, print_table, thousands};

/// Pictures of each index.
const PICTURES: [usize; 3] = [10_000, 100_000, 1_000_000];

/// Values of a vector: the default of recipes.
const WIDTH: usize = 256;

/// Vectors that are generated at a time.
const BLOCK: usize = 8192;

/// Queries that are timed one by one.
const QUERIES: usize = 100;

/// Queries that are timed together.
const TOGETHER: usize = 64;

/// Pictures that are asked for.
const TOP: usize = 20;

/// An index of some size.
struct Measured {
    pictures: usize,
    bytes: u64,
    /// Of writing it, without generating the vectors.
    write_seconds: f64,
    /// Of opening it, checksum included.
    open_seconds: f64,
    /// Of each query by itself, sorted.
    query_seconds: Vec<f64>,
    /// Of [`TOGETHER`] queries at once.
    together_seconds: f64,
}

/// Measures and prints.
///
/// # Errors
///
/// If a number of pictures is out of range, or the temporary directory cannot be written.
pub fn run(args: &BenchArgs) -> Result<()> {
    let mut results = Vec::new();
    for pictures in args.pictures.as_deref().unwrap_or(&PICTURES) {
        ensure!(*pictures > 0, "--pictures must be at least 1");
        tracing::info!("search, {} pictures", thousands(pictures));
        results.push(measure(*pictures)?);
    }
    let threads = rayon::current_num_threads();
    if args.json {
        let results: Vec<Value> = results.iter().map(Measured::json).collect();
        return print_json(&json!({"threads": threads, "width": WIDTH, "results": results}));
    }
    let mut out = output::stdout();
    writeln!(
        out,
        "vectors of {WIDTH} values, the best {TOP}, {threads} threads"
    )?;
    let titles = "pictures,size,written/s,open s,query p50 ms,query p95 ms,together ms";
    let mut rows = vec![titles.split(',').map(String::from).collect()];
    rows.extend(results.iter().map(Measured::row));
    print_table(&mut out, &rows)?;
    Ok(())
}

fn measure(pictures: usize) -> Result<Measured> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let path = directory.path().join("generated.index");
    let write_seconds = write(&path, pictures)?;
    let started = Instant::now();
    let index = VectorIndex::open(&path)?;
    let open_seconds = started.elapsed().as_secs_f64();

    let queries = generated(pictures, QUERIES + TOGETHER)?;
    let mut query_seconds = Vec::with_capacity(QUERIES);
    for query in queries.rows().take(QUERIES) {
        let query = Vectors::new(WIDTH, query.to_vec())?;
        let started = Instant::now();
        let found = index.search(&query, TOP)?;
        query_seconds.push(started.elapsed().as_secs_f64());
        ensure!(
            found[0].len() == TOP.min(pictures),
            "a query found {} pictures",
            found[0].len()
        );
    }
    query_seconds.sort_by(f64::total_cmp);
    let together = queries.values()[QUERIES * WIDTH..].to_vec();
    let together = Vectors::new(WIDTH, together)?;
    let started = Instant::now();
    index.search(&together, TOP)?;
    Ok(Measured {
        pictures,
        bytes: std::fs::metadata(&path)?.len(),
        write_seconds,
        open_seconds,
        query_seconds,
        together_seconds: started.elapsed().as_secs_f64(),
    })
}

/// Writes the index, and gives the time that it took without that of generating the vectors.
fn write(path: &Path, pictures: usize) -> Result<f64> {
    let keys: Vec<String> = (0..pictures).map(|at| format!("picture-{at:09}")).collect();
    let new = NewIndex {
        keys: &keys,
        width: WIDTH,
        checkpoint: "generated",
        store: "generated",
    };
    let mut generating = 0.0;
    let started = Instant::now();
    new.write(path, |write| {
        for start in (0..pictures).step_by(BLOCK) {
            let begun = Instant::now();
            let vectors = generated(start, BLOCK.min(pictures - start));
            let vectors = vectors.map_err(IndexError::from)?;
            generating += begun.elapsed().as_secs_f64();
            write(&vectors)?;
        }
        Ok(())
    })?;
    Ok(started.elapsed().as_secs_f64() - generating)
}

/// Vectors of length 1 in all directions; number `first` and those after it.
fn generated(first: usize, count: usize) -> Result<Vectors, oscar_task::TaskError> {
    let mut values = Vec::with_capacity(count * WIDTH);
    for number in first..first + count {
        // Xorshift: fast, and random enough for directions.
        let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let row = values.len();
        values.extend((0..WIDTH).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        }));
        let own = &mut values[row..];
        let length = own.iter().map(|value| value * value).sum::<f32>().sqrt();
        own.iter_mut().for_each(|value| *value /= length);
    }
    Vectors::new(WIDTH, values)
}

impl Measured {
    /// The time below which this share of the queries is.
    fn query(&self, share: f64) -> f64 {
        let last = self.query_seconds.len() - 1;
        self.query_seconds[(last as f64 * share).round() as usize]
    }

    fn row(&self) -> Vec<String> {
        let milliseconds = |seconds: f64| format!("{:.2}", 1e3 * seconds);
        vec![
            thousands(self.pictures),
            bytes(self.bytes),
            format!("{:.0}", self.pictures as f64 / self.write_seconds),
            format!("{:.3}", self.open_seconds),
            milliseconds(self.query(0.5)),
            milliseconds(self.query(0.95)),
            milliseconds(self.together_seconds),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "work": "search",
            "pictures": self.pictures,
            "bytes": self.bytes,
            "written_per_s": self.pictures as f64 / self.write_seconds,
            "open_seconds": self.open_seconds,
            "query_p50_seconds": self.query(0.5),
            "query_p95_seconds": self.query(0.95),
            "queries_together": TOGETHER,
            "together_seconds": self.together_seconds,
        })
    }
}
