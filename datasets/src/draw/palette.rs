//! Colours that are easy to distinguish.

/// The share of the colour circle between two neighbours; no two of the first dozens come close.
const STEP: f32 = 0.618_034;

/// Saturation and brightness of the first eight colours, the next eight, and so on.
const TIERS: [(f32, f32); 3] = [(0.9, 1.0), (0.45, 1.0), (0.95, 0.6)];

/// Colour number `index`, as red, green and blue.
pub fn color(index: usize) -> [u8; 3] {
    let (saturation, value) = TIERS[index / 8 % TIERS.len()];
    let hue = (index as f32 * STEP).fract() * 6.0;
    [5.0, 3.0, 1.0].map(|n| {
        let k = (n + hue) % 6.0;
        let share = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (share * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::color;

    #[test]
    fn colours_are_told_apart() {
        assert_eq!(color(0), [255, 26, 26], "the first is red");
        let colors: Vec<[u8; 3]> = (0..24).map(color).collect();
        for (i, a) in colors.iter().enumerate() {
            for b in &colors[..i] {
                let distance: i32 = (0..3)
                    .map(|c| (i32::from(a[c]) - i32::from(b[c])).pow(2))
                    .sum();
                assert!(distance > 35 * 35, "{a:?} is like {b:?}");
            }
        }
    }
}
