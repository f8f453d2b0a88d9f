//! The order of values of which some may have none.

use std::{cmp::Ordering, mem};

use crate::{Error, Result, manager::object::Object};

/// The positions of the values in their order; equal ones stay as they are.
///
/// Each half is sorted, and then they are merged, with an error where two have no order: a sort of the library may panic then.
pub(super) fn sorted(items: &[Object]) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    let is_number = |item: &Object| matches!(item, Object::Bool(_) | Object::Int(_) | Object::Float(_));
    if items.iter().all(is_number) || items.iter().all(|item| matches!(item, Object::Str(_))) {
        // These have an order, all of them.
        order.sort_by(|a, b| items[*a].partial_cmp(&items[*b]).unwrap_or(Ordering::Equal));
        return Ok(order);
    }
    let (mut merged, mut width) = (Vec::with_capacity(order.len()), 1);
    while width < order.len() {
        for pair in order.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([a, rest @ ..], [b, others @ ..]) = (left, right) {
                if compare(&items[*b], &items[*a])?.is_lt() {
                    merged.push(*b);
                    right = others;
                } else {
                    merged.push(*a);
                    left = rest;
                }
            }
            merged.extend(left.iter().chain(right));
        }
        mem::swap(&mut order, &mut merged);
        merged.clear();
        width *= 2;
    }
    Ok(order)
}

fn compare(a: &Object, b: &Object) -> Result<Ordering> {
    match a.partial_cmp(b) {
        // Equal ones that have no order, such as two of nothing.
        Some(order) if has_order(a) => Ok(order),
        _ => Err(Error::TypeMismatch {
            expected: format!("values that have an order with {}", a.type_name()),
            found: b.type_name().into(),
        }),
    }
}

fn has_order(object: &Object) -> bool {
    !matches!(object, Object::None | Object::Dict(_) | Object::Proxy(_))
}
