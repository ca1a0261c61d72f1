"""Methods of other kinds than those the package has, sketched to prove the form in which transformations are said."""
