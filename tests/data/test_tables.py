from handgrad.data.tables import closest, listed


def test_many_names_are_shortened():
    assert listed([f"c{i}" for i in range(25)]).endswith("'c19' and 5 more")


def test_the_closest_name_keeps_its_own_spelling():
    assert closest("label", ["Label ", "age"]) == "; did you mean 'Label '?"
    assert closest("xyz", ["age"]) == ""


def test_no_target_lists_the_columns(refused):
    words = refused("age,label\n1,x\n2,y\n", target=None)
    assert "target: expected the column of table.csv to predict, got none" in words
    assert words.endswith("name one of its columns: 'age', 'label'")


def test_a_missing_target_lists_the_columns_and_the_closest(refused):
    words = refused("age,label\n1,x\n2,y\n", target="lable")
    assert "got 'lable'; name one of its columns: 'age', 'label'; did you mean 'label'?" in words


def test_other_separators_are_recognised(refused):
    assert "separated by semicolons: save it with commas" in refused("age;label\n1;x\n")
    assert "separated by tabs" in refused("age\tlabel\n1\tx\n")


def test_duplicate_columns(refused):
    assert "more than one column named 'age'; rename" in refused("age,age,label\n1,2,x\n")


def test_a_row_number_without_a_name(refused):
    words = refused(",age,label\n0,1,x\n1,2,y\n")
    assert "a name for every column, got '' for column 1 of 3" in words
    assert "index=False" in words


def test_a_target_alone(refused):
    assert "at least one feature column, got the target 'label' alone" in refused("label\nx\ny\n")
