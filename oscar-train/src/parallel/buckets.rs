//! Gradients as a few flat buffers, in order of the parameters' names.
//!
//! Names, since ids are different in every process. A few, since each sum costs a round trip, and
//! summing needs several copies of a buffer.

use std::collections::HashMap;

use burn::module::{AutodiffModule, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use oscar_core::checkpoint::parameters;

use crate::gradients::{Flat, map_gradients, unflatten};

/// Values of a bucket, 64 MiB; a larger parameter has one of its own.
const BUCKET: usize = 16 << 20;

/// The parameters of a model, divided into buckets: ids and sizes, in order of the names.
pub(crate) struct Buckets(Vec<Vec<(ParamId, usize)>>);

impl Buckets {
    /// The buckets of `model`, the same for every replica.
    pub fn of<B: AutodiffBackend, M: AutodiffModule<B>>(model: &M) -> Self {
        let mut parameters = parameters::<B, M>(model);
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        let (mut buckets, mut filled) = (vec![Vec::new()], 0);
        for parameter in &parameters {
            let len = parameter.len();
            if filled > 0 && filled + len > BUCKET {
                buckets.push(Vec::new());
                filled = 0;
            }
            filled += len;
            if let Some(bucket) = buckets.last_mut() {
                bucket.push((parameter.id, len));
            }
        }
        Self(buckets)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The values of each bucket, on the device: zeros where a parameter has no gradient. Also which
    /// parameters have one, in order of the names.
    pub fn flatten<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
        model: &M,
        mut grads: GradientsParams,
        device: &B::Device,
    ) -> (Vec<Flat<B>>, Vec<bool>) {
        let mut flat = HashMap::new();
        map_gradients::<B, M>(model, &mut grads, |id, grad| {
            flat.insert(id, grad);
            None
        });
        let ids = self.0.iter().flatten();
        let present = ids.map(|(id, _)| flat.contains_key(id)).collect();
        let buckets = self.0.iter().map(|bucket| {
            let own = bucket.iter().map(|(id, len)| {
                let own = flat.remove(id);
                own.unwrap_or_else(|| Tensor::zeros([*len], device))
            });
            Tensor::cat(own.collect(), 0)
        });
        (buckets.collect(), present)
    }

    /// The gradients that the values of the buckets are. A parameter that is not `present` has none,
    /// so that it is not decayed either.
    pub fn unflatten<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
        model: &M,
        values: Vec<Flat<B>>,
        present: &[bool],
    ) -> GradientsParams {
        let mut flat = HashMap::new();
        let mut present = present.iter();
        for (bucket, values) in self.0.iter().zip(values) {
            let mut start = 0;
            for (id, len) in bucket {
                if present.next() == Some(&true) {
                    flat.insert(*id, values.clone().narrow(0, start, *len));
                }
                start += len;
            }
        }
        unflatten::<B, M>(model, flat)
    }
}
