//! The endpoints of the model that makes vectors of texts and of images: `/v1/embed` and `/v1/search`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};

use super::models::ModelInfo;
use super::refusal::Refusal;
use super::reply::{Embedded, FoundImage, SearchAnswer};
use super::request::{self, Question};
use super::routes::{Server, Shared, has_text, lost, no_model, not_loaded};
use super::search::{no_index, no_reranker};
use super::worker::{Outcome, Work};

/// Vectors of a text or of images.
pub(super) async fn embed(
    State(server): Shared,
    request: Request,
) -> Result<Json<Embedded>, Refusal> {
    let (model, outcome) = of_search(&server, Work::Embed, request).await?;
    match outcome {
        Outcome::Vectors(vectors) => Ok(Json(Embedded { model, vectors })),
        Outcome::Images(_) | Outcome::Found(_) => Err(lost()),
    }
}

/// Images that a text describes, or that are like an image.
pub(super) async fn search(
    State(server): Shared,
    request: Request,
) -> Result<Json<SearchAnswer>, Refusal> {
    let (model, outcome) = of_search(&server, Work::Search, request).await?;
    match outcome {
        Outcome::Found(found) => {
            let reranked = found.iter().any(|found| found.match_score.is_some());
            let (info, _) = server.search.as_ref().ok_or_else(lost)?;
            Ok(Json(SearchAnswer {
                model,
                reranker: info.reranker.clone().filter(|_| reranked),
                found: found.into_iter().map(FoundImage::from).collect(),
            }))
        }
        Outcome::Images(_) | Outcome::Vectors(_) => Err(lost()),
    }
}

/// What the model that searches makes of a request, and its name.
async fn of_search(
    server: &Arc<Server>,
    work: Work,
    request: Request,
) -> Result<(String, Outcome), Refusal> {
    let Some((info, indexed)) = &server.search else {
        return Err(not_loaded("search", "search"));
    };
    if work == Work::Search && !indexed {
        return Err(no_index());
    }
    let (question, _reserved) = request::read(request, server.limits, &server.memory).await?;
    if let Some(name) = question.model.as_ref().filter(|name| **name != info.name) {
        return Err(no_model(name));
    }
    let images = question.sources.len();
    let too_many = work == Work::Search && images > 1;
    if has_text(&question) == (images > 0) || too_many {
        return Err(Refusal::malformed(match work {
            Work::Search => "give a `text` or one image to search by",
            _ => "give a `text` or images to embed",
        }));
    }
    if question.explain {
        let message = "a vector has no attention to `explain`";
        return Err(Refusal::malformed(message));
    }
    check_rerank(work, info, &question)?;
    let outcome = server.outcome(work, question).await?;
    Ok((info.name.clone(), outcome))
}

/// Checks that what is to be re-ranked can be: what was found by a text, by a model that is loaded.
fn check_rerank(work: Work, info: &ModelInfo, question: &Question) -> Result<(), Refusal> {
    if question.rerank.is_none() {
        return Ok(());
    }
    if work != Work::Search {
        return Err(Refusal::malformed("this endpoint takes no `rerank`"));
    }
    if !has_text(question) {
        return Err(Refusal::malformed(
            "`rerank` reads the `text` together with each image that is found; a search by image has \
             none",
        ));
    }
    match info.reranker {
        Some(_) => Ok(()),
        None => Err(no_reranker()),
    }
}
