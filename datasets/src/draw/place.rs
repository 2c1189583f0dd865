//! Finds a place for a name beside its box.

use super::canvas::Area;

/// How much worse it is to cover a pixel of a name than one of a box.
const NAME_COST: u64 = 20;

/// Where a name of `size` goes that belongs to the box `of`: the first of the usual places where
/// it covers nothing, or else where it covers least of other names and of boxes. Always inside the
/// picture, if the name fits in.
pub(super) fn place(
    of: Area,
    size: (u32, u32),
    picture: (u32, u32),
    names: &[Area],
    boxes: &[Area],
) -> Area {
    let (width, height) = size;
    let (right, bottom) = (of.x + of.width, of.y + of.height);
    let (end_x, end_y) = (right.saturating_sub(width), bottom.saturating_sub(height));
    let above = of.y.checked_sub(height);
    let below = (bottom + height <= picture.1).then_some(bottom);
    let spots = [
        (Some(of.x), above),
        (Some(of.x), Some(of.y)),
        (Some(of.x), below),
        (Some(end_x), above),
        (Some(end_x), Some(of.y)),
        (Some(end_x), below),
        (Some(of.x), Some(end_y)),
        (Some(end_x), Some(end_y)),
        (of.x.checked_sub(width), Some(of.y)),
        ((right + width <= picture.0).then_some(right), Some(of.y)),
    ];
    let spots = spots.into_iter().filter_map(|(x, y)| {
        Some(Area {
            x: x?.min(picture.0.saturating_sub(width)),
            y: y?.min(picture.1.saturating_sub(height)),
            width,
            height,
        })
    });
    let covered = |spot: &Area| -> u64 {
        let covers = |areas: &[Area]| areas.iter().map(|other| spot.overlap(other)).sum::<u64>();
        covers(names) * NAME_COST + covers(boxes)
    };
    // The first of the least; the place in the box is always among them.
    spots.min_by_key(covered).unwrap_or(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(x: u32, y: u32, width: u32, height: u32) -> Area {
        Area {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn names_stay_inside_and_give_way() {
        let picture = (100, 100);
        let name = (30, 10);
        let of = area(20, 40, 40, 30);
        let first = place(of, name, picture, &[], &[]);
        assert_eq!(first, area(20, 30, 30, 10), "above the box");
        let second = place(of, name, picture, &[first], &[]);
        assert_eq!(second, area(20, 40, 30, 10), "in the box");
        let third = place(of, name, picture, &[first, second], &[]);
        assert_eq!(third, area(20, 70, 30, 10), "below the box");
        let other = area(0, 0, 100, 35);
        let aside = place(of, name, picture, &[], &[of, other]);
        assert_eq!(aside, area(20, 70, 30, 10), "rather covers no box");
        let corner = area(90, 0, 10, 10);
        assert_eq!(place(corner, name, picture, &[], &[]), area(70, 0, 30, 10));
        let low = area(0, 95, 100, 5);
        assert_eq!(place(low, name, picture, &[], &[]), area(0, 85, 30, 10));
    }

    #[test]
    fn where_all_is_taken_the_least_is_covered() {
        let picture = (30, 20);
        let of = area(0, 10, 30, 10);
        let name = (30, 10);
        let taken = [area(0, 0, 30, 10), area(0, 10, 10, 10)];
        let spot = place(of, name, picture, &taken, &[]);
        assert_eq!(spot, area(0, 10, 30, 10));
    }
}
