"""Bad input of what is kept on disk to be computed once, as data: more cases for `tests.bad_input`."""

from tests.bad_classes import case as of_classes
from tests.place import Case, text

FEATURES = "--trainer.callbacks+=CachePrefix"
DECODER = "--adapt.adapter=null --adapt.where=null"

KEPT: dict[str, list[Case]] = {
    "Features and resized images that are kept": [
        Case(
            "Features before a part that is adapted from the beginning",
            FEATURES,
            ("nothing to keep", "adapt.where", "--adapt.adapter null"),
        ),
        Case(
            "Features of augmented images",
            f"{FEATURES} {DECODER} --data.augment=Augment",
            ("the training images are augmented", "--data.augment null"),
        ),
        Case(
            "Features in a folder that is a file",
            f"{FEATURES} --trainer.callbacks.folder=KEPT {DECODER}",
            ("KEPT", "Not a directory", "choose another folder"),
            text("KEPT", "a file"),
        ),
        of_classes(
            "SAM's features of a CLIP", FEATURES, ("for SAM's image encoder", "ClipClassification", "leave it out")
        ),
        Case(
            "Resized images in a cache that is a file",
            "--data.keep_resized=true --cache=KEPT",
            ("KEPT", "leave out data.keep_resized"),
            text("KEPT", "a file"),
        ),
    ],
}
