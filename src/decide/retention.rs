//! Which images are no longer kept for a rollback?

use crate::model::{AppName, ImageDetails};

/// An image that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// Its local tag, to be removed.
    pub tag: String,
    /// Its `repository@digest` names, to be removed as well; none while a kept generation, or another app, has the same
    /// image: a kept image is found by these names.
    pub names: Vec<String>,
}

/// Of the images tagged `gen-N`, those beyond the newest and the `keep` before it. Tags of another form are not
/// ours and stay. `shelf` is what local tags of all apps begin with, `app` whose they are.
pub fn superseded(tagged: &[(String, ImageDetails)], keep: usize, shelf: &str, app: &AppName) -> Vec<Superseded> {
    let number = |tag: &str| tag.strip_prefix("gen-").and_then(|n| n.parse::<u64>().ok());
    let mut ours: Vec<(u64, &String, &ImageDetails)> =
        tagged.iter().filter_map(|(tag, image)| Some((number(tag)?, tag, image))).collect();
    ours.sort_by_key(|(generation, ..)| std::cmp::Reverse(*generation));
    let split = ours.len().min(keep + 1);
    let (kept, gone) = ours.split_at(split);
    let own = format!("{shelf}{app}:");
    let of_another = |name: &String| name.starts_with(shelf) && !name.starts_with(&own);
    gone.iter()
        .map(|(_, tag, image)| {
            let shared =
                kept.iter().any(|(_, _, other)| other.id == image.id) || image.repo_tags.iter().any(of_another);
            Superseded { tag: (*tag).clone(), names: if shared { Vec::new() } else { image.repo_digests.clone() } }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Platform;

    /// Another app has image `e` as well.
    fn image(id: &str) -> ImageDetails {
        let other = (id == "e").then(|| "local/shop-worker:gen-1".to_owned());
        ImageDetails {
            id: id.to_owned(),
            platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
            repo_digests: vec![format!("shop@{id}")],
            repo_tags: [format!("local/shop:gen-{id}")].into_iter().chain(other).collect(),
            size: 0,
            has_healthcheck: false,
            raw: serde_json::Value::Null,
        }
    }

    #[test]
    fn the_newest_and_the_kept_ones_stay_and_an_image_that_is_still_used_keeps_its_name() {
        let tagged: Vec<(String, ImageDetails)> =
            [("gen-1", "a"), ("gen-10", "b"), ("gen-9", "a"), ("gen-2", "c"), ("mine", "d"), ("gen-3", "e")]
                .map(|(tag, id)| (tag.to_owned(), image(id)))
                .to_vec();
        let app = "shop".parse().unwrap();
        let gone = superseded(&tagged, 1, "local/", &app);
        assert_eq!(
            gone,
            vec![
                Superseded { tag: "gen-3".into(), names: Vec::new() },
                Superseded { tag: "gen-2".into(), names: vec!["shop@c".into()] },
                Superseded { tag: "gen-1".into(), names: Vec::new() },
            ]
        );
        assert!(superseded(&tagged, 9, "local/", &app).is_empty());
    }
}
