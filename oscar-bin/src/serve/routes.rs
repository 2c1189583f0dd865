//! The addresses of the server, and what each of them answers.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};

use super::guard::{self, Guard};
use super::metrics::{self, Metrics};
use super::models::ModelInfo;
use super::openapi;
use super::page::Page;
use super::queue::{NotQueued, Queue};
use super::refusal::Refusal;
use super::reply::{Answers, Health, ImageAnswers, ImageList, LimitList, ModelList};
use super::request::{self, Limits, Memory, Question};
use super::shelf::Shelf;
use super::worker::{Job, Work};
use crate::commands::pictures::Kind;

/// Longest side of a picture that is shown, in pixels, unless less is asked for.
const SHOWN_SIDE: u32 = 1024;

/// Pixels up to which a shown picture is kept without loss: drawings and thumbnails.
const LOSSLESS: u32 = 1 << 16;

/// Most keys that are listed at once.
const MAX_LISTED: usize = 200;

/// What all requests share.
pub struct Server {
    /// The models, in order.
    pub models: Vec<(Kind, ModelInfo)>,
    /// Identities of the detectors.
    pub detectors: Vec<String>,
    /// The images that the server has.
    pub shelf: Arc<Shelf>,
    /// Where requests wait.
    pub queue: Arc<Queue<Job>>,
    /// What a request may take.
    pub limits: Limits,
    /// Most pixels of a picture.
    pub max_pixels: u64,
    /// Memory of all bodies.
    pub memory: Arc<Memory>,
    /// Time in which a request is answered.
    pub timeout: Duration,
    /// Who may ask.
    pub guard: Guard,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The page.
    pub page: Page,
    /// Pictures that are decoded to be shown at the same time.
    pub showing: Semaphore,
    /// Whether the server is being stopped.
    pub stopping: AtomicBool,
}

type Shared = State<Arc<Server>>;

/// The addresses.
pub fn router(server: Arc<Server>) -> Router {
    let answer = |kind: Option<Kind>| {
        post(move |State(server): Shared, request: Request| answer(server, kind, request))
    };
    Router::new()
        .route("/", get(page))
        .route("/health", get(health))
        .route("/metrics", get(metrics_text))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/models", get(models))
        .route("/v1/images", get(images))
        .route("/v1/images/{key}/picture", get(picture))
        .route("/v1/regions", answer(None))
        .route("/v1/caption", answer(Some(Kind::Caption)))
        .route("/v1/ask", answer(Some(Kind::Question)))
        .route("/v1/match", answer(Some(Kind::Match)))
        .route("/v1/find", answer(Some(Kind::Find)))
        .route("/v1/embed", post(embed))
        .route("/v1/search", post(embed))
        .fallback(async |request: Request| Refusal::no_address(request.uri().path()))
        .method_not_allowed_fallback(async |method: Method| Refusal::method(method.as_str()))
        // The bodies are limited where they are read.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(server.clone(), guard::guard))
        .layer(middleware::from_fn_with_state(server.clone(), count))
        .with_state(server)
}

/// Counts requests by the endpoint and the status of the answer, and those that are given up.
async fn count(State(server): Shared, request: Request, next: Next) -> Response {
    struct Unfinished(Option<Arc<Server>>);
    impl Drop for Unfinished {
        fn drop(&mut self) {
            if let Some(server) = &self.0 {
                server.metrics.abandoned.inc();
            }
        }
    }
    let endpoint = openapi::endpoint(request.uri().path());
    let start = Instant::now();
    let mut unfinished = Unfinished(Some(server.clone()));
    let response = next.run(request).await;
    unfinished.0 = None;
    let status = response.status().as_u16();
    let seconds = start.elapsed().as_secs_f64();
    server.metrics.answered(endpoint, status, seconds);
    tracing::debug!("{endpoint} {status} {:.1} ms", 1e3 * seconds);
    response
}

/// The page.
async fn page(State(server): Shared) -> Response {
    server.page.response()
}

/// Whether the server answers.
#[utoipa::path(get, path = "/health", responses((status = 200, body = Health)), security(()))]
pub(super) async fn health(State(server): Shared) -> Response {
    let (code, status) = match server.stopping.load(Ordering::Acquire) {
        false => (StatusCode::OK, "ok"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    let waiting = server.queue.len();
    (code, Json(Health { status, waiting })).into_response()
}

/// Counters for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics_text(State(server): Shared) -> Response {
    let waiting = i64::try_from(server.queue.len()).unwrap_or(i64::MAX);
    server.metrics.waiting.set(waiting);
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        server.metrics.text(),
    )
        .into_response()
}

/// The models and detectors that are loaded.
#[utoipa::path(get, path = "/v1/models", responses((status = 200, body = ModelList)))]
pub(super) async fn models(State(server): Shared) -> Json<ModelList> {
    Json(ModelList {
        models: server.models.iter().map(|(_, info)| info.clone()).collect(),
        detectors: server.detectors.clone(),
        images: server.shelf.len(),
        limits: LimitList {
            body: server.limits.body,
            pixels: server.max_pixels,
            text: server.limits.text,
            images: server.limits.images,
        },
    })
}

/// Which keys are listed.
#[derive(Deserialize)]
pub(super) struct Listing {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

/// The images that the server has.
#[utoipa::path(
    get, path = "/v1/images",
    params(
        ("offset" = Option<usize>, Query, description = "Images to leave out at the beginning"),
        ("limit" = Option<usize>, Query, description = "Most keys; 24 by default, at most 200"),
    ),
    responses((status = 200, body = ImageList)),
)]
pub(super) async fn images(
    State(server): Shared,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<ImageList>, Refusal> {
    let Query(listing) = listing.map_err(|error| Refusal::malformed(error.body_text()))?;
    let limit = listing.limit.unwrap_or(24).min(MAX_LISTED);
    Ok(Json(ImageList {
        total: server.shelf.len(),
        pictures: server.shelf.has_pictures(),
        keys: server.shelf.keys(listing.offset, limit),
    }))
}

/// How large a picture is shown.
#[derive(Deserialize)]
pub(super) struct Shown {
    side: Option<u32>,
}

/// The picture of an image that the server has, shrunk to `side` pixels.
#[utoipa::path(
    get, path = "/v1/images/{key}/picture",
    params(
        ("key" = String, Path, description = "Key of the image"),
        ("side" = Option<u32>, Query, description = "Longest side in pixels, at most 1024"),
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "image/png"),
        (status = 404, body = super::refusal::ErrorDocument),
    ),
)]
pub(super) async fn picture(
    State(server): Shared,
    key: Result<Path<String>, PathRejection>,
    shown: Result<Query<Shown>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Path(key) = key.map_err(|error| Refusal::malformed(error.body_text()))?;
    let Query(shown) = shown.map_err(|error| Refusal::malformed(error.body_text()))?;
    let side = shown.side.unwrap_or(SHOWN_SIDE).clamp(1, SHOWN_SIDE);
    let permit = tokio::time::timeout(server.timeout, server.showing.acquire()).await;
    let _permit = permit.map_err(|_| Refusal::slow(server.timeout.as_secs()))?;
    let shelf = server.shelf.clone();
    let encoded = tokio::task::spawn_blocking(move || {
        let picture = shelf.picture(&key)?;
        encoded(&picture.image, side)
    });
    let failed = |_| Refusal::internal("the picture cannot be shown; the server's log says why");
    let (format, bytes) = encoded.await.map_err(failed)??;
    let kind = HeaderValue::from_static(format.to_mime_type());
    let cached = HeaderValue::from_static("private, max-age=300");
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, cached),
    ];
    Ok((headers, bytes).into_response())
}

fn encoded(picture: &RgbImage, side: u32) -> Result<(ImageFormat, Vec<u8>), Refusal> {
    let (width, height) = picture.dimensions();
    let long = width.max(height);
    let shrunk;
    let picture = match long <= side {
        true => picture,
        false => {
            let scaled =
                |length: u32| (u64::from(length) * u64::from(side) / u64::from(long)).max(1);
            let size = (scaled(width) as u32, scaled(height) as u32);
            shrunk = imageops::resize(picture, size.0, size.1, FilterType::Triangle);
            &shrunk
        }
    };
    let format = match picture.width() * picture.height() <= LOSSLESS {
        true => ImageFormat::Png,
        false => ImageFormat::Jpeg,
    };
    let mut bytes = Cursor::new(Vec::new());
    let written = picture.write_to(&mut bytes, format);
    written
        .map_err(|error| Refusal::internal(format!("the picture cannot be encoded: {error}")))?;
    Ok((format, bytes.into_inner()))
}

/// Embeds texts and images; there is no task of weights for it yet.
async fn embed() -> Refusal {
    Refusal::not_loaded("no weights are loaded that embed texts and images")
}

/// Answers a question about images: waits for its turn, then for the answer.
async fn answer(
    server: Arc<Server>,
    kind: Option<Kind>,
    request: Request,
) -> Result<Json<Answers>, Refusal> {
    // Before a body is read that nothing could answer.
    if let Some(kind) = kind {
        server.model(kind, None)?;
    }
    let (mut question, _reserved) = request::read(request, server.limits, &server.memory).await?;
    let model = match kind {
        Some(kind) => Some(server.model(kind, question.model.as_deref())?),
        None => None,
    };
    check_text(kind, &mut question)?;
    let work = match model {
        Some((at, _)) => Work::Ask(at),
        None => Work::Regions((!server.detectors.is_empty()).then_some(0)),
    };
    let (reply, answered) = oneshot::channel();
    let job = Job {
        work,
        question,
        reply,
        since: Instant::now(),
    };
    // The place is given up when the client leaves, which drops this future.
    let _place = server.queue.push(job).map_err(|error| match error {
        NotQueued::Full => Refusal::queue_full(server.queue.capacity()),
        NotQueued::Closed => Refusal::stopping(),
    })?;
    let answered = tokio::time::timeout(server.timeout, answered).await;
    let answered = answered.map_err(|_| Refusal::slow(server.timeout.as_secs()))?;
    let gone = |_| Refusal::internal("the request was lost");
    let images = answered.map_err(gone)??.into_iter();
    let document = Answers {
        model: model.map(|(_, info)| info.name.clone()),
        task: model.map(|(_, info)| info.task),
        images: images.map(|image| ImageAnswers::new(kind, image)).collect(),
    };
    Ok(Json(document))
}

/// Checks that there is a text where one is asked for; of a match every class is wanted.
fn check_text(kind: Option<Kind>, question: &mut Question) -> Result<(), Refusal> {
    let has_text = question
        .text
        .as_ref()
        .is_some_and(|text| !text.trim().is_empty());
    match kind {
        Some(Kind::Question | Kind::Match | Kind::Find) if !has_text => Err(Refusal::malformed(
            "the request has no `text`: the question or statement",
        )),
        None | Some(Kind::Caption) if has_text => {
            Err(Refusal::malformed("this endpoint takes no `text`"))
        }
        Some(Kind::Match) => {
            question.top = usize::from(u16::MAX);
            Ok(())
        }
        None if question.explain => Err(Refusal::malformed(
            "a detector has no attention to `explain`",
        )),
        None | Some(Kind::Question | Kind::Find) => Ok(()),
        Some(Kind::Caption) => {
            question.text = None;
            Ok(())
        }
    }
}

impl Server {
    /// The model called `name` that does this, or the first one that does.
    fn model(&self, kind: Kind, name: Option<&str>) -> Result<(usize, &ModelInfo), Refusal> {
        let models = self.models.iter().enumerate();
        let mut fitting = models.filter(|(_, (of, _))| *of == kind);
        let Some(name) = name else {
            let first = fitting.next();
            return first.map(|(at, (_, info))| (at, info)).ok_or_else(|| {
                Refusal::not_loaded(format!(
                    "no weights of the task {} are loaded; start the server with --checkpoint and \
                     their directory (`oscar-bin finetune --task {}` trains small ones on the sample)",
                    kind.tasks().join(" or "),
                    kind.trained()
                ))
            });
        };
        let named = fitting.find(|(_, (_, info))| info.name == name);
        named.map(|(at, (_, info))| (at, info)).ok_or_else(|| {
            Refusal::unknown(format!(
                "there is no model {name:?} that does this; /v1/models lists them"
            ))
        })
    }
}
