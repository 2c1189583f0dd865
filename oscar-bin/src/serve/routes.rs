//! The addresses of the server, and what each of them answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, oneshot};

use super::gallery;
use super::guard::{self, Guard};
use super::metrics::{self, Metrics};
use super::models::ModelInfo;
use super::openapi;
use super::page::Page;
use super::queue::{NotQueued, Queue};
use super::refusal::Refusal;
use super::reply::{Answers, Health, ImageAnswers, LimitList, ModelList};
use super::request::{self, Limits, Memory, Question};
use super::shelf::Shelf;
use super::vectors;
use super::worker::{Job, Outcome, Work};
use crate::commands::pictures::Kind;

/// What all requests share.
pub struct Server {
    /// The models, in order.
    pub models: Vec<(Kind, ModelInfo)>,
    /// The one that searches, and whether it has an index.
    pub search: Option<(ModelInfo, bool)>,
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

pub(super) type Shared = State<Arc<Server>>;

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
        .route("/v1/images", get(gallery::images))
        .route("/v1/images/{key}/picture", get(gallery::picture))
        .route("/v1/regions", answer(None))
        .route("/v1/caption", answer(Some(Kind::Caption)))
        .route("/v1/ask", answer(Some(Kind::Question)))
        .route("/v1/match", answer(Some(Kind::Match)))
        .route("/v1/find", answer(Some(Kind::Find)))
        .route("/v1/embed", post(vectors::embed))
        .route("/v1/search", post(vectors::search))
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
        models: server.infos().cloned().collect(),
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
    if question.sources.is_empty() {
        let message = "the request has no image; give `picture`, `key` or `images`";
        return Err(Refusal::malformed(message));
    }
    if question.rerank.is_some() {
        return Err(Refusal::malformed("this endpoint takes no `rerank`"));
    }
    check_text(kind, &mut question)?;
    let work = match model {
        Some((at, _)) => Work::Ask(at),
        None => Work::Regions((!server.detectors.is_empty()).then_some(0)),
    };
    let Outcome::Images(images) = server.outcome(work, question).await? else {
        return Err(lost());
    };
    let document = Answers {
        model: model.map(|(_, info)| info.name.clone()),
        task: model.map(|(_, info)| info.task),
        images: images
            .into_iter()
            .map(|image| ImageAnswers::new(kind, image))
            .collect(),
    };
    Ok(Json(document))
}

/// Checks that there is a text where one is asked for; of a match every class is wanted.
fn check_text(kind: Option<Kind>, question: &mut Question) -> Result<(), Refusal> {
    let has_text = has_text(question);
    match kind {
        Some(Kind::Question | Kind::Match | Kind::Find) if !has_text => Err(Refusal::malformed(
            "the request has no `text`: the question or statement",
        )),
        None | Some(Kind::Caption) if has_text => {
            Err(Refusal::malformed("this endpoint takes no `text`"))
        }
        Some(Kind::Match) => {
            question.top = Some(usize::from(u16::MAX));
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

pub(super) fn has_text(question: &Question) -> bool {
    let text = question.text.as_ref();
    text.is_some_and(|text| !text.trim().is_empty())
}

/// No weights of these tasks, of which `trained` is one that trains on the sample.
pub(super) fn not_loaded(tasks: &str, trained: &str) -> Refusal {
    Refusal::not_loaded(format!(
        "no weights of the task {tasks} are loaded; start the server with --checkpoint and their \
         directory (`oscar-bin finetune --task {trained}` trains small ones on the sample)"
    ))
}

pub(super) fn no_model(name: &str) -> Refusal {
    Refusal::unknown(format!(
        "there is no model {name:?} that does this; /v1/models lists them"
    ))
}

pub(super) fn lost() -> Refusal {
    Refusal::internal("the request was lost")
}

impl Server {
    /// What clients see of the models.
    fn infos(&self) -> impl Iterator<Item = &ModelInfo> {
        let search = self.search.iter().map(|(info, _)| info);
        self.models.iter().map(|(_, info)| info).chain(search)
    }

    /// What a question is answered with: waits for its turn, then for the answer.
    pub(super) async fn outcome(&self, work: Work, question: Question) -> Result<Outcome, Refusal> {
        let (reply, answered) = oneshot::channel();
        let job = Job {
            work,
            question,
            reply,
            since: Instant::now(),
        };
        // The place is given up when the client leaves, which drops this future.
        let _place = self.queue.push(job).map_err(|error| match error {
            NotQueued::Full => Refusal::queue_full(self.queue.capacity()),
            NotQueued::Closed => Refusal::stopping(),
        })?;
        let answered = tokio::time::timeout(self.timeout, answered).await;
        let answered = answered.map_err(|_| Refusal::slow(self.timeout.as_secs()))?;
        answered.map_err(|_| lost())?
    }

    /// The model called `name` that does this, or the first one that does.
    fn model(&self, kind: Kind, name: Option<&str>) -> Result<(usize, &ModelInfo), Refusal> {
        let models = self.models.iter().enumerate();
        let mut fitting = models.filter(|(_, (of, _))| *of == kind);
        let Some(name) = name else {
            let first = fitting.next();
            return first
                .map(|(at, (_, info))| (at, info))
                .ok_or_else(|| not_loaded(&kind.tasks().join(" or "), kind.trained()));
        };
        let named = fitting.find(|(_, (_, info))| info.name == name);
        named
            .map(|(at, (_, info))| (at, info))
            .ok_or_else(|| no_model(name))
    }
}
