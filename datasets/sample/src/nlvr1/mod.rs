//! NLVR v1 (Suhr et al., ACL 2017): drawn images of coloured shapes, and human statements on them.
//!
//! An image shows three grey boxes with squares, circles and triangles in three colours and three
//! sizes. Since everything in it is drawn with exact colours, its objects can be found without a
//! detector, and without error: that gives a real, small data set with regions, tags and texts on
//! which a model of a few hundred thousand parameters learns within minutes.
//!
//! [`build`] makes two data sets from the images of one split:
//!
//! - **described boxes**: each grey box is an image, its caption is made from its objects in the
//!   order of their position. This is what a small model learns;
//! - **statements**: whole images with the sentences people wrote about them, the hard case.
//!
//! The data are upstream's, CC-BY-4.0; see [`ATTRIBUTION`].

pub mod annotations;
mod build;
pub mod caption;
pub mod images;
mod output;

pub(crate) use build::NLVR1_FORMAT;
pub use build::{BuildOptions, Counts, DATASET_VERSION, DatasetInfo, build};

/// Whose data these are.
pub const ATTRIBUTION: &str = "NLVR, Alane Suhr, Mike Lewis, James Yeh and Yoav Artzi, \
    \"A Corpus of Natural Language for Visual Reasoning\", ACL 2017; \
    https://github.com/lil-lab/nlvr, licensed CC-BY-4.0";
