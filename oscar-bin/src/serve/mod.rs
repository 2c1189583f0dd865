//! The server: models that are opened once and asked over HTTP, and a page that asks them.
//!
//! ```text
//! connections ─▶ guard ─▶ routes ─▶ request ─▶ queue ─▶ worker (one thread, the device) ─▶ reply
//! ```
//!
//! Requests wait in a bounded queue. One thread takes those that the same model answers, as many as
//! fit into a batch, and runs them together.

mod connections;
mod detectors;
mod form;
mod gallery;
mod guard;
mod metrics;
mod models;
mod openapi;
mod page;
mod queue;
mod refusal;
mod reply;
mod request;
mod routes;
mod search;
mod seeing;
mod shelf;
mod vectors;
mod worker;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use oscar_core::ops::Precision;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, watch};

pub use self::connections::ConnectionLimits;
use self::guard::Guard;
use self::metrics::Metrics;
pub use self::models::{Models, Wanted, Weights};
use self::page::Page;
use self::queue::Queue;
pub use self::request::Limits;
use self::request::Memory;
use self::routes::{Server, router};
use self::seeing::{Kept, Seeing};
pub use self::shelf::Shelf;
use self::worker::{Job, Worker};
use crate::output;

/// Threads that read requests and write answers; they compute nothing.
const IO_THREADS: usize = 2;

/// Pictures that are decoded to be shown at the same time.
const SHOWN_AT_A_TIME: usize = 2;

/// Bodies of the largest size that may be in memory at the same time.
const BODIES: usize = 16;

/// How the server runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub address: SocketAddr,
    /// The token that requests must carry.
    pub token: Option<String>,
    /// More names that it is known by.
    pub hosts: Vec<String>,
    /// Origins of other pages that may ask.
    pub origins: Vec<String>,
    /// Requests that may wait.
    pub queue: usize,
    /// Most images that are computed together.
    pub max_batch: usize,
    /// Time in which a request is answered.
    pub timeout: Duration,
    /// What a request may take.
    pub limits: Limits,
    /// Most pixels of a picture.
    pub max_pixels: u64,
    /// Limits on connections.
    pub connections: ConnectionLimits,
    /// Precision of the matrix products.
    pub precision: Precision,
}

/// Serves until a signal ends it; requests that are waiting then are still answered.
///
/// # Errors
/// If it cannot listen at its address.
pub fn run(models: Models, shelf: Shelf, settings: &Settings) -> Result<()> {
    let queue: Arc<Queue<Job>> = Queue::new(settings.queue);
    let (shelf, metrics) = (Arc::new(shelf), Arc::new(Metrics::new()));
    let of_model = models.models.iter();
    let server = Arc::new(Server {
        models: of_model
            .map(|model| (model.kind, model.info.clone()))
            .collect(),
        search: models
            .search
            .as_ref()
            .map(|model| (model.info.clone(), model.indexed)),
        detectors: models
            .detectors
            .all()
            .iter()
            .map(|one| one.identity().to_string())
            .collect(),
        shelf: shelf.clone(),
        queue: queue.clone(),
        limits: settings.limits,
        max_pixels: settings.max_pixels,
        memory: Memory::new(BODIES.saturating_mul(2 * settings.limits.body)),
        timeout: settings.timeout,
        guard: Guard::new(
            settings.address,
            settings.token.as_deref(),
            &settings.hosts,
            &settings.origins,
        ),
        metrics: metrics.clone(),
        page: Page::new(),
        showing: Semaphore::new(SHOWN_AT_A_TIME),
        stopping: AtomicBool::new(false),
    });
    let worker = Worker {
        models: models.models,
        search: models.search,
        seeing: Seeing {
            detectors: models.detectors.all().to_vec(),
            shelf,
            max_pixels: settings.max_pixels,
            metrics: metrics.clone(),
            kept: Kept::default(),
        },
        queue,
        max_batch: settings.max_batch,
        metrics,
    };
    let precision = settings.precision;
    let worker = std::thread::Builder::new()
        .name("model".into())
        .spawn(move || precision.scope(|| worker.run()))
        .context("cannot start the thread of the models")?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .max_blocking_threads(2 * SHOWN_AT_A_TIME)
        .enable_all()
        .build()
        .context("cannot start the threads of the server")?;
    let served = runtime.block_on(listen(server.clone(), settings));
    server.queue.close();
    // What still runs on the other side of a slow connection is given up.
    runtime.shutdown_background();
    worker
        .join()
        .map_err(|_| anyhow!("the thread of the models panicked"))?;
    served
}

/// Listens until a signal comes, then lets what runs finish.
async fn listen(server: Arc<Server>, settings: &Settings) -> Result<()> {
    let address = settings.address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen at {address}"))?;
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    stop_on_signal(stop)?;
    let serving = tokio::spawn(connections::serve(
        listener,
        router(server.clone()),
        settings.connections,
        server.metrics.clone(),
        stopped.clone(),
    ));
    // A result, for scripts: which port was free.
    let mut out = output::stdout();
    writeln!(out, "http://{address}/")?;
    out.flush()?;
    let token = match server.guard.has_token() {
        true => ", for those who have the token",
        false => "",
    };
    tracing::info!("serving at http://{address}/{token}; Ctrl-C stops");
    let mut stopped = stopped;
    let _ = stopped.changed().await;
    tracing::info!("stopping after the requests that run");
    server.stopping.store(true, Ordering::Release);
    server.queue.close();
    if tokio::time::timeout(settings.timeout, serving)
        .await
        .is_err()
    {
        tracing::warn!("some connections did not end in time and are closed");
    }
    Ok(())
}

/// The first signal stops the server when what runs has finished, the second immediately.
fn stop_on_signal(stop: watch::Sender<bool>) -> Result<()> {
    ctrlc::set_handler(move || {
        if stop.send_replace(true) {
            tracing::warn!("stopped immediately");
            std::process::exit(130);
        }
    })
    .context("cannot handle signals")
}
