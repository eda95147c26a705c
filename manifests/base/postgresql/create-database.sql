-- Run once, in the empty cluster. psql reads and quotes the three values, so that they may hold any characters.
\getenv user POSTGRESQL_USER
\getenv password POSTGRESQL_PASSWORD
\getenv database POSTGRESQL_DATABASE
CREATE ROLE :"user" LOGIN PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"user";
