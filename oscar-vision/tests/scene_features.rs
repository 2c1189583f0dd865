//! The features of scenes equal a worked example of NumPy, and a reader uses them.

use std::sync::Arc;

use image::RgbImage;
use oscar_vision::scenes::{
    CROP, Crop, Detector, FEATURE_DIM, Known, NORM, SceneReader, edges_and_colours, feature, whiten,
};
use oscar_vision::{Picture, RegionExtractor, VisionError};
use safetensors::SafeTensors;

fn tensor(name: &str) -> Vec<u8> {
    let file = include_bytes!("fixtures/scene_feature.safetensors");
    let tensors = SafeTensors::deserialize(file).unwrap();
    tensors.tensor(name).unwrap().data().to_vec()
}

fn floats(name: &str) -> Vec<f32> {
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    tensor(name).chunks_exact(4).map(value).collect()
}

fn furthest(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let apart = found.iter().zip(wanted).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f32::max)
}

fn example() -> Crop {
    let mut crop = [[0; 3]; CROP * CROP];
    for (pixel, bytes) in crop.iter_mut().zip(tensor("example_crop").chunks_exact(3)) {
        pixel.copy_from_slice(bytes);
    }
    crop
}

#[test]
fn edges_and_colours_equal_the_worked_example() {
    let found = edges_and_colours(&example());
    let apart = furthest(&found, &floats("example_edges_colours"));
    assert!(apart < 1e-6, "{apart}");
}

#[test]
fn whitened_values_equal_the_worked_example() {
    let found = whiten(&edges_and_colours(&example()));
    // The matrix is stored in half precision: 3e-4 of values of about 0.7.
    let apart = furthest(&found, &floats("example_feature"));
    assert!(apart < 1e-3, "{apart}");
}

/// The example's crop at `x`, `y` of a plain canvas.
fn picture(places: &[(u32, u32)]) -> Picture {
    let mut image = RgbImage::from_pixel(128, 96, image::Rgb([250, 247, 240]));
    let crop = example();
    for (x, y) in places {
        for (at, pixel) in crop.iter().enumerate() {
            let (dx, dy) = ((at % CROP) as u32, (at / CROP) as u32);
            // A frame, so that the whole crop is the thing.
            let edge = [0, CROP as u32 - 1];
            let framed = edge.contains(&dx) || edge.contains(&dy);
            let pixel = if framed { [40; 3] } else { *pixel };
            image.put_pixel(x + dx, y + dy, image::Rgb(pixel));
        }
    }
    Picture {
        image,
        origin: "scene.png".into(),
    }
}

#[test]
fn a_reader_returns_boxes_names_and_features() {
    let one = picture(&[(10, 20)]);
    let known = feature(&one.image, [10, 20, 34, 44]);
    let thing = |name: &str, vendor: &str, feature| Known {
        name: name.into(),
        vendor: vendor.into(),
        feature,
    };
    let detector = Detector::new([
        thing("cat", "noto", known.map(|v| -v)),
        thing("dog", "twemoji", known),
    ]);
    assert_eq!(detector.name(&known, None), Some(("dog", 1.0)));
    assert_eq!(detector.name(&known, Some("twemoji")), Some(("cat", 0.0)));
    assert_eq!(detector.name(&known, Some("fluent")), Some(("dog", 1.0)));
    assert_eq!(Detector::new([]).name(&known, None), None);

    let reader = SceneReader::new(Arc::new(detector));
    let photo = Picture {
        image: RgbImage::from_fn(64, 64, |x, y| image::Rgb([(4 * x) as u8, (4 * y) as u8, 0])),
        origin: "photo.jpg".into(),
    };
    let found = reader.extract(&[picture(&[(60, 40), (10, 20)]), photo]);
    let regions = found[0].as_ref().unwrap();
    let boxes: Vec<[f32; 4]> = regions.regions.iter().map(|region| region.box_px).collect();
    assert_eq!(boxes, [[10.0, 20.0, 34.0, 44.0], [60.0, 40.0, 84.0, 64.0]]);
    assert!(regions.regions.iter().all(|region| region.class == "dog"));
    assert_eq!(regions.features.len(), 2 * FEATURE_DIM);
    assert_eq!(reader.feature_dim(), FEATURE_DIM);
    let length = regions.features[..FEATURE_DIM]
        .iter()
        .map(|v| v * v)
        .sum::<f32>();
    assert!((length.sqrt() - NORM).abs() < 1e-4);
    let Err(VisionError::Picture { picture, .. }) = &found[1] else {
        panic!("{:?}", found[1]);
    };
    assert_eq!(picture, "photo.jpg");
}
