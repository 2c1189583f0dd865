//! What the server counts, in the format that Prometheus reads.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper ends of the classes of times, in seconds.
const SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Upper ends of the classes of batches, in images.
const IMAGES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// A kind of request and its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    endpoint: &'static str,
    status: u16,
}

/// A kind of request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Endpoint {
    endpoint: &'static str,
}

/// Counters, gauges and histograms.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Family<Endpoint, Histogram>,
    resident: Gauge,
    /// Requests whose client left before the answer.
    pub abandoned: Counter,
    /// Requests that wait for the device.
    pub waiting: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Connections that were refused because there were too many.
    pub refused: Counter,
    /// Images of a batch.
    pub batch: Histogram,
    /// Time that a request waited for the device.
    pub waited: Histogram,
    /// Time that the device took for a batch.
    pub computed: Histogram,
    /// Pictures that a detector read.
    pub detected: Counter,
    /// Pictures whose regions were still known.
    pub kept: Counter,
}

impl Metrics {
    /// All of them, at zero.
    pub fn new() -> Self {
        let seconds = || Histogram::new(SECONDS);
        let mut metrics = Self {
            registry: Registry::with_prefix("oscar"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            resident: Gauge::default(),
            abandoned: Counter::default(),
            waiting: Gauge::default(),
            connections: Gauge::default(),
            refused: Counter::default(),
            batch: Histogram::new(IMAGES),
            waited: seconds(),
            computed: seconds(),
            detected: Counter::default(),
            kept: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let s = || Unit::Seconds;
        registry.register("requests", "Requests by status", self.requests.clone());
        let help = "Time from the header of a request to its answer";
        registry.register_with_unit("request", help, s(), self.seconds.clone());
        let help = "Requests whose client left before the answer";
        registry.register("abandoned_requests", help, self.abandoned.clone());
        let help = "Requests that wait for the device";
        registry.register("waiting_requests", help, self.waiting.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        let help = "Connections beyond the limit";
        registry.register("refused_connections", help, self.refused.clone());
        registry.register("batch_images", "Images of a batch", self.batch.clone());
        let help = "Time that a request waited for the device";
        registry.register_with_unit("wait", help, s(), self.waited.clone());
        let help = "Time that the device took for a batch";
        registry.register_with_unit("batch", help, s(), self.computed.clone());
        let help = "Pictures in which a detector found the regions";
        registry.register("detected_pictures", help, self.detected.clone());
        let help = "Pictures whose regions were still known";
        registry.register("kept_pictures", help, self.kept.clone());
        let help = "Resident memory of the process";
        registry.register_with_unit("resident_memory", help, Unit::Bytes, self.resident.clone());
    }

    /// Counts a request that was answered.
    pub fn answered(&self, endpoint: &'static str, status: u16, seconds: f64) {
        let labels = Labels { endpoint, status };
        self.requests.get_or_create(&labels).inc();
        let endpoint = Endpoint { endpoint };
        self.seconds.get_or_create(&endpoint).observe(seconds);
    }

    /// All of them as text.
    pub fn text(&self) -> String {
        self.resident.set(resident_bytes());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Resident memory of this process; 0 where the system does not say.
fn resident_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
