//! The detectors of the server, each opened once, however many models read its features.

use std::sync::Arc;

use anyhow::Result;
use oscar_core::ops::TrainBackend;
use oscar_task::TaskCheckpoint;
use oscar_vision::RegionExtractor;

use super::models::Wanted;
use crate::detector;
use crate::tasks::AnyTask;

/// Opened detectors, by the names that they were opened under.
#[derive(Default)]
pub struct Detectors {
    names: Vec<(String, usize)>,
    opened: Vec<Arc<dyn RegionExtractor>>,
}

impl Detectors {
    /// All of them.
    pub fn all(&self) -> &[Arc<dyn RegionExtractor>] {
        &self.opened
    }

    /// The place of the detector that a model reads the features of: the first of those named, else the
    /// one that its weights name. None if stored images can be asked about without one.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn find<T: AnyTask, B: TrainBackend>(
        &mut self,
        wanted: &Wanted<'_>,
        checkpoint: &TaskCheckpoint<T>,
        device: &B::Device,
    ) -> Result<Option<usize>> {
        let mut open = |name| self.open::<T, B>(name, checkpoint, device);
        let found = match wanted.detectors {
            [] => open(None),
            [names @ .., last] => {
                let fitting = names.iter().find_map(|name| open(Some(name)).ok());
                fitting.map_or_else(|| open(Some(last)), Ok)
            }
        };
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if wanted.stored && wanted.detectors.is_empty() => {
                tracing::warn!("only stored images can be asked about: {error:#}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn open<T: AnyTask, B: TrainBackend>(
        &mut self,
        named: Option<&str>,
        checkpoint: &TaskCheckpoint<T>,
        device: &B::Device,
    ) -> Result<usize> {
        let name = detector::name_for(named, checkpoint)?;
        if let Some((_, at)) = self.names.iter().find(|(known, _)| *known == name) {
            detector::check_fits(&*self.opened[*at], &name, checkpoint)?;
            return Ok(*at);
        }
        let found = detector::open_for::<T, B::InnerBackend>(Some(&name), checkpoint, device)?;
        let identity = found.identity();
        let mut opened = self.opened.iter();
        let same = opened.position(|known| known.identity() == identity);
        let at = same.unwrap_or_else(|| {
            self.opened.push(found);
            self.opened.len() - 1
        });
        self.names.push((name, at));
        Ok(at)
    }
}
