-- The warehouse of the demonstration: TPC-H, and who of the sales staff looks after which region.

CREATE SCHEMA sales;
SET search_path = sales;

CREATE TABLE region (
    r_regionkey integer PRIMARY KEY,
    r_name      text NOT NULL,
    r_comment   text
);
CREATE TABLE nation (
    n_nationkey integer PRIMARY KEY,
    n_name      text NOT NULL,
    n_regionkey integer NOT NULL REFERENCES region,
    n_comment   text
);
CREATE TABLE part (
    p_partkey     bigint PRIMARY KEY,
    p_name        text NOT NULL,
    p_mfgr        text NOT NULL,
    p_brand       text NOT NULL,
    p_type        text NOT NULL,
    p_size        integer NOT NULL,
    p_container   text NOT NULL,
    p_retailprice numeric(15,2) NOT NULL,
    p_comment     text NOT NULL
);
CREATE TABLE supplier (
    s_suppkey   bigint PRIMARY KEY,
    s_name      text NOT NULL,
    s_address   text NOT NULL,
    s_nationkey integer NOT NULL REFERENCES nation,
    s_phone     text NOT NULL,
    s_acctbal   numeric(15,2) NOT NULL,
    s_comment   text NOT NULL
);
CREATE TABLE partsupp (
    ps_partkey    bigint NOT NULL REFERENCES part,
    ps_suppkey    bigint NOT NULL REFERENCES supplier,
    ps_availqty   integer NOT NULL,
    ps_supplycost numeric(15,2) NOT NULL,
    ps_comment    text NOT NULL,
    PRIMARY KEY (ps_partkey, ps_suppkey)
);
CREATE TABLE customer (
    c_custkey    bigint PRIMARY KEY,
    c_name       text NOT NULL,
    c_address    text NOT NULL,
    c_nationkey  integer NOT NULL REFERENCES nation,
    c_phone      text NOT NULL,
    c_acctbal    numeric(15,2) NOT NULL,
    c_mktsegment text NOT NULL,
    c_comment    text NOT NULL
);
CREATE TABLE orders (
    o_orderkey      bigint PRIMARY KEY,
    o_custkey       bigint NOT NULL REFERENCES customer,
    o_orderstatus   text NOT NULL,
    o_totalprice    numeric(15,2) NOT NULL,
    o_orderdate     date NOT NULL,
    o_orderpriority text NOT NULL,
    o_clerk         text NOT NULL,
    o_shippriority  integer NOT NULL,
    o_comment       text NOT NULL
);
CREATE TABLE lineitem (
    l_orderkey      bigint NOT NULL REFERENCES orders,
    l_partkey       bigint NOT NULL,
    l_suppkey       bigint NOT NULL,
    l_linenumber    integer NOT NULL,
    l_quantity      numeric(15,2) NOT NULL,
    l_extendedprice numeric(15,2) NOT NULL,
    l_discount      numeric(15,2) NOT NULL,
    l_tax           numeric(15,2) NOT NULL,
    l_returnflag    text NOT NULL,
    l_linestatus    text NOT NULL,
    l_shipdate      date NOT NULL,
    l_commitdate    date NOT NULL,
    l_receiptdate   date NOT NULL,
    l_shipinstruct  text NOT NULL,
    l_shipmode      text NOT NULL,
    l_comment       text NOT NULL,
    PRIMARY KEY (l_orderkey, l_linenumber)
);

CREATE SCHEMA staff;
CREATE TABLE staff.assignments (
    email  text NOT NULL,
    region text NOT NULL,
    PRIMARY KEY (email, region)
);
INSERT INTO staff.assignments VALUES ('alice@example.com', 'EUROPE'), ('bob@example.com', 'ASIA');
