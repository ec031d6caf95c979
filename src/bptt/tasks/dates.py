"""Dates in text: which are read, and what to say of those that are not."""

import polars as pl

# Nothing but ISO 8601: in 01/02/2024 nobody can tell the month from the day.
ISO = r"^\d{4}-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?)?$"
MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
OTHER = (
    r"^\d{1,4}[./-]\d{1,2}[./-]\d{1,4}([T ,]|$)"
    rf"|^(?i)(\d{{1,2}}[. -]+)?{MONTH}[. -]+(\d{{1,2}},?[ -]+)?\d{{4}}([ ,]|$)"
)
BASIC = 19_000_101, 21_001_231  # dates as whole numbers, such as 20240131
FORMS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
ZONED = ("%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%d %H:%M%:z")


def as_dates(column: pl.Series) -> pl.Series:
    """Text that holds nothing but dates as dates, or as datetimes; any other column as it is.

    So are whole numbers such as 20240131, where all are dates from 1900 to 2100.

    >>> as_dates(pl.Series(["2024-01", "2024-02"])).to_list()
    [datetime.date(2024, 1, 1), datetime.date(2024, 2, 1)]
    """
    if column.dtype == pl.Int64 and len(column) > 1 and column.is_between(*BASIC).all():
        basic = column.cast(pl.String).str.to_date("%Y%m%d", strict=False)
        return column if basic.null_count() > column.null_count() else basic
    text = column.drop_nulls()
    if column.dtype != pl.String or text.is_empty() or not text.str.contains(ISO).all():
        return column
    parsed = _parsed(column)
    if parsed.null_count() > column.null_count():
        return column
    daily = (text.str.len_chars() <= 10).all()
    return (parsed.cast(pl.Date) if daily else parsed).alias(column.name)


def are_dates(column: pl.Series) -> pl.Series:
    """Whether each cell of a column of text is a date.

    >>> are_dates(pl.Series(["2024-02-29", "2024-02-30", "2024-01-31 12:00+01:00"])).to_list()
    [True, False, True]
    """
    return column.str.contains(ISO).fill_null(False) & _parsed(column).is_not_null()


def look_like_dates(column: pl.Series) -> pl.Series:
    """Whether each cell of a column of text is a date in some other form, such as 31.01.2024."""
    return column.str.contains(OTHER).fill_null(False)


def _parsed(column: pl.Series) -> pl.Series:
    """Datetimes, in UTC where the text says how far it is from it; null for what is no date."""
    whole = pl.when(column.str.len_chars() == 7).then(column + "-01").otherwise(column)
    text = whole.str.replace("Z$", "").str.replace("T", " ")
    plain = [text.str.to_datetime(form, strict=False, time_unit="us") for form in FORMS]
    zoned = [
        text.str.to_datetime(form, strict=False, time_unit="us").dt.replace_time_zone(None)
        for form in ZONED
    ]
    return pl.select(pl.coalesce(*plain, *zoned)).to_series()
