//! Sets of pictures: decoding, sizes and resizing.

use image::RgbImage;
use oscar_vision::resize::{bilinear, frcnn_size, pillow_bilinear, vinvl_size};
use oscar_vision::{Picture, PictureLimits};

use crate::check::{Checks, Report};
use crate::host::{HostTensor, Tensors};
use crate::set::Set;

/// Levels that two JPEG decoders may differ by on the average.
const JPEG_MEAN: f64 = 1.0;

/// Compares decoded pictures with OpenCV's, resized ones with Pillow's and PyTorch's.
pub fn check(set: &Set) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let inputs = set.inputs()?;
    let names = checks.expected_under("");
    for name in names.iter().filter_map(|name| name.strip_suffix(".cv2")) {
        decoded(set, &mut checks, name)?;
    }
    resized(&mut checks, &inputs)?;
    sizes(&mut checks)?;
    if let Some(values) = inputs.find("unit.u8") {
        // What VinVL computes of a value before it subtracts the mean: the value itself.
        let expected = checks.expected.get("unit.v_div255_mul255")?.data.clone();
        checks.exact_tensor("unit.v_div255_mul255", &values.data, &expected);
    }
    Ok(checks.finish())
}

/// Decodes the picture `name` of the set.
pub fn decode(set: &Set, name: &str) -> Result<RgbImage, String> {
    let path = set.dir.join(name);
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let picture = Picture::decode(name, &bytes, PictureLimits::default());
    Ok(picture.map_err(|error| error.to_string())?.image)
}

/// The pixels of a picture.
pub fn pixels(image: &RgbImage) -> HostTensor {
    HostTensor {
        shape: vec![image.height() as usize, image.width() as usize, 3],
        data: image.as_raw().iter().map(|v| f64::from(*v)).collect(),
    }
}

/// A picture of these pixels.
pub fn image_of(tensor: &HostTensor) -> Result<RgbImage, String> {
    let [height, width, 3] = tensor.shape[..] else {
        return Err(format!("pixels of shape {:?}", tensor.shape));
    };
    let values = tensor.data.iter().map(|value| *value as u8).collect();
    RgbImage::from_raw(width as u32, height as u32, values).ok_or("a picture's size".into())
}

fn decoded(set: &Set, checks: &mut Checks, name: &str) -> Result<(), String> {
    let got = pixels(&decode(set, &format!("images/{name}"))?);
    let opencv = checks.expected.get(&format!("{name}.cv2"))?.clone();
    // PIL does not apply orientations, and cuts 16 bits at 255: there OpenCV is followed.
    let pillow_name = format!("{name}.pil");
    let pillow = checks.expected.find(&pillow_name).cloned();
    compare(checks, &format!("{name}.cv2"), &got, &opencv);
    if let Some(pillow) = pillow {
        match difference(&pillow, &opencv).is_some_and(|(_, most)| most <= 2.0) {
            true => compare(checks, &pillow_name, &got, &pillow),
            false => {
                let differs = difference(&got, &pillow).is_none_or(|(_, most)| most > 2.0);
                checks.exact_tensor(&pillow_name, &[differs], &[true]);
            }
        }
    }
    Ok(())
}

/// Equal pixels, for a JPEG nearly.
fn compare(checks: &mut Checks, name: &str, got: &HostTensor, expected: &HostTensor) {
    checks.exact(&format!("{name}: size"), &got.shape, &expected.shape);
    if name.contains(".jpg.") {
        let mean = difference(got, expected).map_or(f64::INFINITY, |(mean, _)| mean);
        checks.within(&format!("{name}: mean difference"), mean, 0.0, JPEG_MEAN);
        checks.exact_tensor(name, &got.shape, &expected.shape);
    } else {
        checks.exact_tensor(name, &got.data, &expected.data);
    }
}

/// The mean and the largest difference of two pictures of equal size.
fn difference(a: &HostTensor, b: &HostTensor) -> Option<(f64, f64)> {
    if a.shape != b.shape {
        return None;
    }
    let each = || a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs());
    Some((
        each().sum::<f64>() / a.data.len() as f64,
        each().fold(0.0, f64::max),
    ))
}

fn resized(checks: &mut Checks, inputs: &Tensors) -> Result<(), String> {
    for name in checks.expected_under("resize") {
        let Some(number) = name.strip_suffix(".pil") else {
            continue;
        };
        let image = image_of(inputs.get(&format!("resize{number}.in"))?)?;
        let name = format!("resize{number}.pil");
        let expected = checks.expected.get(&name)?.clone();
        let (height, width) = (expected.shape[0] as u32, expected.shape[1] as u32);
        let got = pixels(&pillow_bilinear(&image, height, width));
        checks.exact_tensor(&name, &got.data, &expected.data);
        let got = planes(&bilinear(&image, height, width), height, width);
        checks.tensor(&format!("resize{number}.f32"), &got);
    }
    Ok(())
}

/// `[height, width, 3]` as `[3, height, width]`.
pub fn planes(values: &[f32], height: u32, width: u32) -> HostTensor {
    let plane = |channel: usize| values.iter().skip(channel).step_by(3);
    HostTensor {
        shape: vec![3, height as usize, width as usize],
        data: (0..3).flat_map(plane).map(|v| f64::from(*v)).collect(),
    }
}

fn sizes(checks: &mut Checks) -> Result<(), String> {
    let Some(expected) = checks.expected.find("sizes").cloned() else {
        return Ok(());
    };
    let got: Vec<f64> = expected
        .data
        .chunks(8)
        .flat_map(|row| {
            let [h, w, short, long] = [0, 1, 2, 3].map(|column| row[column] as u32);
            let (frcnn, vinvl) = (frcnn_size(h, w, short, long), vinvl_size(h, w, short, long));
            [h, w, short, long, frcnn.0, frcnn.1, vinvl.0, vinvl.1].map(f64::from)
        })
        .collect();
    checks.exact_tensor("sizes", &got, &expected.data);
    Ok(())
}
