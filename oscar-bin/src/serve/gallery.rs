//! The images that the server has: their keys, and their pictures to be shown.

use std::io::Cursor;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};
use serde::Deserialize;

use super::refusal::Refusal;
use super::reply::ImageList;
use super::routes::Server;

/// Longest side of a picture that is shown, in pixels, unless less is asked for.
const SHOWN_SIDE: u32 = 1024;

/// Pixels up to which a shown picture is kept without loss: drawings and thumbnails.
const LOSSLESS: u32 = 1 << 16;

/// Most keys that are listed at once.
const MAX_LISTED: usize = 200;

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
    State(server): State<Arc<Server>>,
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
    State(server): State<Arc<Server>>,
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
